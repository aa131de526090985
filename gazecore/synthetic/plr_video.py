"""Made recordings of the pupil light reflex: two videos of a person's eyes, the flashes, and the true ratio.

On disk  ROOT/NAME_left.mp4, ROOT/NAME_right.mp4   160 x 120, 30 frames per second; left is the person's own left
         ROOT/NAME_left.csv, ROOT/NAME_right.csv   frame, time_s, pir, blink (0 or 1)
         ROOT/events.csv                           recording, onset_s, stimulus_s: one row per flash of light

Each flash takes from the pupil-iris ratio what `pupil_trace` says, the tails of earlier ones added.
People blink every few seconds, though not while a pupil constricts.
"""

import csv
import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gazecore import video
from gazecore.synthetic.eye_plan import NOISE, RECORDING, plan_eye, seed_of, stream
from gazecore.synthetic.eye_rendering import Eye, Renderer
from gazecore.synthetic.pupil_trace import trace

USUAL = 1  # recordings
SECONDS, FPS, SIZE = 23.0, 30.0, (120, 160)
FIRST_ONSET_S, PERIOD_S = 3.0, 10.0
QUIET_S = (-0.8, 1.8)  # around an onset: nobody blinks
JITTER_PX = 0.6
CLOSING_S, OPENING_S = 0.09, 0.18


@dataclass(frozen=True)
class Flash:
    """One flash and the response to it, in the words of `pupil_trace.trace`; amplitudes are pupil-iris ratios."""

    onset_s: float
    stimulus_s: float
    amplitude: float
    sustained: float
    shape: float
    time_to_peak_s: float
    latency_s: float
    sustained_rise_s: float
    sustained_decay_s: float

    def drop(self, times_s: np.ndarray) -> np.ndarray:
        """What this flash takes from the ratio at each time."""
        reflex = dataclasses.asdict(self)
        since_s = times_s - reflex.pop("onset_s")
        del reflex["stimulus_s"]
        return -trace(since_s, baseline=0.0, **reflex)


@dataclass(frozen=True)
class Recording:
    """baseline ratio, flashes, and blinks as (first, last) second of the shut eye."""

    baseline: float
    flashes: tuple[Flash, ...]
    blinks: tuple[tuple[float, float], ...]

    def pir(self, times_s: np.ndarray) -> np.ndarray:
        """The true ratio at each time, under shut lids too."""
        times_s = np.asarray(times_s, float)
        return self.baseline - sum((flash.drop(times_s) for flash in self.flashes), np.zeros_like(times_s))

    def openness(self, times_s: np.ndarray) -> np.ndarray:
        """1 open to 0 shut, at each time."""
        times_s = np.asarray(times_s, float)
        openness = np.ones_like(times_s)
        for first, last in self.blinks:
            away = np.maximum((first - times_s) / CLOSING_S, (times_s - last) / OPENING_S)
            part = np.clip(away, 0, 1)
            openness = np.minimum(openness, part * part * (3 - 2 * part))
        return openness


def plan_recording(seed: int, seconds: float = SECONDS) -> Recording:
    """Flashes every ten seconds from the third on, each with its own response; blinks two to seven seconds apart."""
    rng = stream(seed, RECORDING)

    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 6)

    baseline = between(0.46, 0.6)
    flashes, onset = [], FIRST_ONSET_S
    while onset < seconds:
        flash = Flash(
            onset_s=onset,
            stimulus_s=1.0,
            amplitude=between(0.09, 0.18),
            sustained=between(0, 0.03),
            shape=between(2.4, 3.4),
            time_to_peak_s=between(0.65, 0.9),
            latency_s=between(0.2, 0.28),
            sustained_rise_s=between(0.6, 1.0),
            sustained_decay_s=between(2.0, 5.0),
        )
        flashes.append(flash)
        onset += PERIOD_S

    rng, blinks, first = stream(seed, RECORDING, 1), [], 0.0
    while (first := first + round(float(rng.uniform(2, 7)), 6)) < seconds:
        last = first + round(float(rng.uniform(0.04, 0.14)), 6)
        since = (first - FIRST_ONSET_S + PERIOD_S / 2) % PERIOD_S - PERIOD_S / 2
        if not QUIET_S[0] < since < QUIET_S[1]:
            blinks.append((first, last))
    return Recording(baseline, tuple(flashes), tuple(blinks))


def frames_of(
    seed: int,
    seconds: float = SECONDS,
    fps: float = FPS,
    size: tuple[int, int] = SIZE,
    *,
    eye: str = "L",
    mode: str | None = None,
    recording: Recording | None = None,
    **fixed: Any,
) -> Iterator[Eye]:
    """The frames of a made recording, frame k at k / fps seconds, one at a time: a recording may last for hours.

    size       (h, w)
    recording  flashes and blinks, instead of those of the seed
    fixed      fields of EyePlan to hold instead of drawing them; aperture is that of the open eye, pir holds the pupil

    The truth's pir is the recording's. The eyeball trembles by up to 0.6 px; skin and light stay.
    """
    recording = recording or plan_recording(seed, seconds)
    plan = plan_eye(seed, mode)
    if plan.eye != eye:  # the other eye is a mirror image
        mirrored: dict[str, Any] = {
            "roll_deg": -plan.roll_deg,
            "lid_skew": -plan.lid_skew,
            "lid_tilt_px": -plan.lid_tilt_px,
        }
        plan = dataclasses.replace(plan, eye=eye, **mirrored)
    calm: dict[str, Any] = {
        "aperture": 0.75 + 0.2 * (plan.aperture % 1), "yaw_deg": plan.yaw_deg / 4, "pitch_deg": plan.pitch_deg / 4,
        "noise_sd": min(plan.noise_sd, 5.0), "blur_px": min(plan.blur_px, 0.6), "motion_px": None, "jpeg_quality": 0,
    }  # fmt: skip
    plan = dataclasses.replace(plan, **calm | fixed)
    renderer = Renderer(plan, size)
    times_s = np.arange(round(seconds * fps)) / fps
    pirs, apertures = recording.pir(times_s), plan.aperture * recording.openness(times_s)
    for frame, (pir, aperture) in enumerate(zip(pirs.tolist(), apertures.tolist(), strict=True)):
        pose = dataclasses.replace(plan, pir=fixed.get("pir", pir), aperture=aperture)
        x, y = stream(seed, NOISE, frame, 1).uniform(-JITTER_PX, JITTER_PX, 2).tolist()
        yield renderer.frame(frame, pose, (x, y))


def make(root: Path, n: int = USUAL, seed: int = 0, seconds: float = SECONDS) -> Counter[str]:
    """Write n recordings of both eyes. Returns the numbers of recordings, videos, frames, flashes and blink frames."""
    root.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter(recordings=n)
    with (root / "events.csv").open("w", newline="") as table:
        events = csv.writer(table, lineterminator="\n")
        events.writerow(["recording", "onset_s", "stimulus_s"])
        for index in range(n):
            name, person = f"recording{index:03d}", seed_of(seed, index)
            recording = plan_recording(person, seconds)
            for flash in recording.flashes:
                events.writerow([name, flash.onset_s, flash.stimulus_s])
            counts["flashes"] += len(recording.flashes)
            for eye, side in (("L", "left"), ("R", "right")):
                frames = frames_of(person, seconds, eye=eye, recording=recording)
                _write(root / f"{name}_{side}", frames, counts)
    return counts


def _write(path: Path, frames: Iterator[Eye], counts: Counter[str]) -> None:
    """One video and its truth."""
    with (
        video.Writer(path.with_suffix(".mp4")) as writer,
        path.with_suffix(".csv").open("w", newline="") as table,
    ):
        truth = csv.writer(table, lineterminator="\n")
        truth.writerow(["frame", "time_s", "pir", "blink"])
        for frame, eye in enumerate(frames):
            writer.add(eye.image, frame / FPS)
            truth.writerow([frame, round(frame / FPS, 6), round(eye.truth.pir, 6), int(eye.truth.blink)])
            counts["frames"] += 1
            counts["blink_frames"] += eye.truth.blink
    counts["videos"] += 1
