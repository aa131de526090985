"""Measure pupil light reflexes: clean the trace, then latency, amplitude, velocities and recovery of each trial.

INPUT is a pupil-trace artifact, or a CSV: our per-frame columns (time_s, pir, eye, subject, trial, blink, ...) or the
pupil_positions.csv of Pupil Player. One row per recording (subject, trial, eye) and onset; what cannot be known is
empty and has a flag.

\b
baseline    median of the 0.5 s before the light      mcv, acv  greatest, mean constriction velocity
latency     pct1: 1 % below the baseline; vel10: a    mdv, adv  the same of the redilation, peak to t75
            tenth of mcv; acc: steepest bend          t50, t75  from the peak until half, 3/4 are recovered
amplitude   baseline minus smallest size              pipr6     size 5.5-6.5 s after the light, % of baseline

Example:
  gz pir video.mp4 | gz plr --onset 2 --csv trials.csv | gz visualize -o trials/
  gz plr pupil_positions.csv --events lights.csv --unit mm -o plr.zarr
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gazecore.cli import run, usage
from gazecore.cli_options import Out, Overwrite


def main(
    input: Annotated[
        str, typer.Argument(help="pupil-trace artifact, or CSV; - reads the pipe", show_default="the pipe")
    ] = "-",
    out: Out = None,
    onset: Annotated[list[float] | None, typer.Option(help="s; the light goes on, in every recording")] = None,
    events: Annotated[
        Path | None, typer.Option(help="table: onset_s, and if need be stimulus_s, subject, trial, eye")
    ] = None,
    stimulus: Annotated[float, typer.Option(min=0, help="s; how long the light stays on")] = 1.0,
    unit: Annotated[Literal["ratio", "px", "mm"] | None, typer.Option(help="of sizes; default: what there is")] = None,
    hvid: Annotated[float, typer.Option(min=1, help="mm; iris diameter, for an estimate of mm from ratios")] = 11.7,
    confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="samples below are missing; default 0.8 for Pupil Player, else 0")
    ] = None,
    max_gap: Annotated[float, typer.Option(min=0, help="s; longest gap that is interpolated")] = 0.5,
    pad: Annotated[float, typer.Option(min=0, help="s; dropped on both sides of a blink")] = 0.1,
    smooth: Annotated[
        Literal["spline", "savgol", "butterworth"],
        typer.Option(help="spline: as stiff as the noise asks; savgol: order 3, 200 ms; butterworth: 4 Hz"),
    ] = "spline",
    peak_within: Annotated[float, typer.Option(min=0.1, help="s after onset in which the peak lies")] = 3.0,
    compat: Annotated[
        Literal["pyplr", "pyplr-cleaned"] | None,
        typer.Option(help="PyPlr's definitions, on the samples as they are or after its cleaning"),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="also write the trials as a table")] = None,
    names: Annotated[
        Literal["gz", "clinical"], typer.Option(help="of that table; clinical: MAX, CON%, LAT ...")
    ] = "gz",
    trace: Annotated[Path | None, typer.Option(help="also write the cleaned traces, a pupil-trace artifact")] = None,
    overwrite: Overwrite = False,
) -> None:
    from gazecore import artifacts, cli
    from gazecore.artifacts.writer import check_target
    from gazecore.errors import EXISTS, GazeError
    from gazecore.pupil import tables, trials

    output = artifacts.Output(out, overwrite=overwrite, report=True)
    if not onset and events is None:
        raise usage("when did the light go on? Give --onset SECONDS (repeat it for more), or --events TABLE")
    if csv and csv.exists() and not overwrite:
        raise GazeError(f"{csv} exists; --overwrite replaces it", EXISTS)
    if trace:
        check_target(trace, overwrite)
    lights = [tables.Event(second, stimulus) for second in onset or ()]
    lights += tables.read_events(events, stimulus) if events else []

    for frames in tables.sources(input):
        held = {name: frames[name].whole() for name in frames.variables}
        found, measured_in = tables.recordings(held, unit, hvid, confidence)
        of_each = tables.matched(lights, found)
        count = sum(map(len, of_each))
        cli.plan(f"{out or 'a reference'}: plr, {count} trials of {len(found)} recordings")
        each = trials.measure(
            found,
            of_each,
            smooth=smooth,
            max_gap_s=max_gap,
            pad_s=pad,
            peak_within_s=peak_within,
            definitions=compat or "gz",
        )
        done = list(cli.progress(each, len(found), "plr"))
        for one in done:
            if one.cleaned.uneven:
                cli.say(f"{one.recording.name}: time stamps jitter by {100 * one.cleaned.jitter:.0f} %; resampled")
        columns = trials.columns(done)
        attrs = {"unit": measured_in, "definitions": compat or "gz", "smoothing": smooth}
        with output.create("plr", attrs) as writer:
            writer.append(**columns)
        if csv:
            tables.write_trials(csv, columns, measured_in, names)
        if trace:
            with artifacts.create(trace, "pupil-trace", {"unit": measured_in}, overwrite) as writer:
                for one in done:
                    writer.append(**trials.cleaned_frames(one, measured_in == "ratio"))
        cli.result(*tables.shown(columns, measured_in))


if __name__ == "__main__":
    run(main)
