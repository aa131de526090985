import base64
import hashlib
import html
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from gazecore.errors import GazeError
from gazecore.visualize import report
from gazecore.visualize.report import Item, Summary

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NASTY = [
    "<script>document.title='broken'</script>",
    "</script><b>bold</b>",
    "\"quotes' & <img src=x onerror=1>",
    "line\u2028end",
]


def picture(shade=100):
    return Image.new("RGB", (40, 20), (shade, shade, shade))


def items(scores, name="auc"):
    return [Item(f"sample {n}", picture(), {name: score}) for n, score in enumerate(scores)]


def shown(page):
    """Names of the samples in the file, in their order."""
    return [html.unescape(name) for name in re.findall(r"<article.*?<h2>(.*?)</h2>", page.read_text(), re.DOTALL)]


def note(page):
    return re.search(r'class="note">(.*?)</p>', page.read_text()).group(1)


# ---- what the file holds ----


def test_all_samples_stand_in_the_order_of_the_data(tmp_path):
    written = report.write(tmp_path / "r.html", "title", items([0.5, math.nan, 0.9, 0.1]))
    assert shown(tmp_path / "r.html") == ["sample 0", "sample 1", "sample 2", "sample 3"]
    assert written == (4, 4, (tmp_path / "r.html").stat().st_size)
    assert "class=note" not in (tmp_path / "r.html").read_text().replace('"', "")


def test_scores_are_written_for_people_and_for_the_page(tmp_path):
    report.write(tmp_path / "r.html", "title", [Item("a", picture(), {"auc": math.nan, "kl": math.inf, "cc": 0.25})])
    text = (tmp_path / "r.html").read_text()
    assert "<dt>auc</dt><dd>–</dd>" in text and "<dd>∞</dd>" in text and "<dd>0.2500</dd>" in text
    scores = html.unescape(re.search(r'data-scores="(.*?)"', text).group(1))
    assert scores == '{"auc": null, "kl": "Infinity", "cc": 0.25}'


def test_the_summary_shows_value_interval_and_count(tmp_path):
    summary = {"auc": Summary(0.9562, 0.9541, 0.958, 4782), "cc": 0.5}
    report.write(tmp_path / "r.html", "title", [], summary, ["gz eval-following"])
    text = re.sub(r"\s+", " ", (tmp_path / "r.html").read_text())
    assert "0.9562</td> <td" in text and "0.9541 to 0.9580" in text and "4,782" in text
    assert '0.5000</td> <td class="extra">–</td>' in text and "<code>gz eval-following</code>" in text


def test_pictures_are_inside_the_file_and_load_late(tmp_path):
    report.write(tmp_path / "r.html", "title", [Item("a", picture(200))])
    tag = re.search(r"<img loading=\"lazy\".*?>", (tmp_path / "r.html").read_text()).group()
    kept = Image.open(BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", tag).group(1))))
    assert kept.size == (40, 20) and np.abs(np.asarray(kept.convert("L"), int) - 200).max() < 4
    assert 'width="40" height="20"' in tag


def test_huge_pictures_are_reduced(tmp_path):
    report.write(tmp_path / "r.html", "title", [Item("a", Image.new("RGB", (4000, 1000)))])
    assert 'width="1600" height="400"' in (tmp_path / "r.html").read_text()


def test_nothing_outside_the_file_is_asked_for(tmp_path):
    report.write(tmp_path / "r.html", "title", items([0.5]), {"auc": 0.5}, ["gz"])
    text = (tmp_path / "r.html").read_text()
    assert not re.findall(r"https?:|//[a-z]+\.|@import|url\(|<link|<base", text)
    assert {address[:11] for address in re.findall(r'(?:src|href)="([^"]*)"', text)} == {"data:image/"}


def test_the_policy_allows_the_pages_own_style_and_script_alone(tmp_path):
    report.write(tmp_path / "r.html", NASTY[0], [Item(NASTY[1], picture())])
    text = (tmp_path / "r.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text).group(1)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert html.unescape(policy).count(f"{tag}-src 'sha256-{digest}'") == 1


def test_whatever_a_user_names_is_text(tmp_path):
    for nasty in NASTY:
        item = Item(nasty, picture(), {nasty: 0.5}, {nasty: nasty})
        report.write(tmp_path / "r.html", nasty, [item], {nasty: 0.5}, [nasty])
        text = (tmp_path / "r.html").read_text()
        assert shown(tmp_path / "r.html") == [nasty]
        assert (
            text.count("<script") == text.count("</script") == 1 and "<img src=x" not in text and "<b>bold" not in text
        )


# ---- which samples stay ----


def test_of_too_many_the_worst_the_best_and_an_even_spread_stay(tmp_path):
    scores = np.random.default_rng(0).permutation(1000) / 1000
    written = report.write(tmp_path / "r.html", "title", items(scores), most=40)
    kept = np.sort([scores[int(name.split()[1])] for name in shown(tmp_path / "r.html")])
    assert written[:2] == (40, 1000)
    assert (kept[:10] == np.arange(10) / 1000).all() and (kept[-10:] == np.arange(990, 1000) / 1000).all()
    assert np.diff(kept[9:31]).max() < 0.12  # 20 samples between .009 and .99: .047 apart if perfectly even
    assert note(tmp_path / "r.html") == (
        "40 of 1,000 samples are shown, because of the limit of 40: the 10 worst and the 10 best by auc, "
        "20 spread evenly over the scores between."
    )


def test_equal_scores_do_not_crowd_out_the_others(tmp_path):
    report.write(tmp_path / "r.html", "title", items([1.0] * 500 + [0.5] + [1.0] * 500 + [0.2]), most=10)
    assert {"sample 500", "sample 1001"} <= set(shown(tmp_path / "r.html"))


def test_samples_without_a_score_keep_a_tenth(tmp_path):
    scores = [math.nan if n % 2 else n / 1000 for n in range(1000)]
    report.write(tmp_path / "r.html", "title", items(scores), most=40)
    places = [int(name.split()[1]) for name in shown(tmp_path / "r.html")]
    assert len(places) == 40 and sum(place % 2 for place in places) == 4
    assert "4 of 500 without auc" in note(tmp_path / "r.html")


def test_without_any_scores_the_samples_spread_over_the_data(tmp_path):
    report.write(tmp_path / "r.html", "title", (Item(f"sample {n}", picture()) for n in range(1000)), most=20)
    places = [int(name.split()[1]) for name in shown(tmp_path / "r.html")]
    assert len(places) == 20 and places[0] == 0 and places[-1] == 999 and np.diff(places).max() < 150


def test_the_chosen_score_decides(tmp_path):
    both = [Item(str(n), picture(), {"auc": n / 100, "kl": abs(n - 50.0)}) for n in range(100)]
    report.write(tmp_path / "r.html", "title", both, most=4, chosen_by="kl")
    assert {"0", "50"} <= set(shown(tmp_path / "r.html")) and "best by kl" in note(tmp_path / "r.html")
    with pytest.raises(GazeError, match=r"'nss'; there are: auc, kl"):
        report.write(tmp_path / "r.html", "title", both, chosen_by="nss")


def test_the_file_stays_below_its_size_cap_and_says_so(tmp_path):
    noise = np.random.default_rng(0)
    many = (
        Item(
            f"sample {n} {'<&>' * 50}", Image.fromarray(noise.integers(0, 256, (90, 90, 3), np.uint8)), {"auc": n / 100}
        )
        for n in range(100)
    )
    written = report.write(tmp_path / "r.html", "title", many, size_cap=200_000)
    assert 150_000 < written.size <= 200_000 and written.size == (tmp_path / "r.html").stat().st_size
    names = shown(tmp_path / "r.html")
    assert (
        4 < written.shown == len(names) < 100 and names[0].startswith("sample 0") and names[-1].startswith("sample 99")
    )
    assert "because of the file&#39;s size limit" in note(tmp_path / "r.html")


def test_the_worst_and_the_best_are_exact_under_a_size_cap_too(tmp_path):
    noise = np.random.default_rng(1)
    scores = [math.nan if n % 5 == 0 else n / 300 for n in noise.permutation(300)]
    sizes = noise.integers(4, 60, 300)
    many = (
        Item(f"sample {n}", Image.fromarray(noise.integers(0, 256, (size, size, 3), np.uint8)), {"auc": score})
        for n, (size, score) in enumerate(zip(sizes, scores, strict=True))
    )
    report.write(tmp_path / "r.html", "title", many, size_cap=100_000)
    ends = int(re.search(r"the (\d+) worst", note(tmp_path / "r.html")).group(1))
    kept = np.array([scores[int(name.split()[1])] for name in shown(tmp_path / "r.html")])
    kept, scores = np.sort(kept[~np.isnan(kept)]), np.sort([score for score in scores if not math.isnan(score)])
    assert ends > 2 and (kept[:ends] == scores[:ends]).all() and (kept[-ends:] == scores[-ends:]).all()


def test_a_cap_below_one_sample_leaves_none(tmp_path):
    assert report.write(tmp_path / "r.html", "title", items([0.5, 0.6]), size_cap=1000).shown == 0
    assert note(tmp_path / "r.html").startswith("0 of 2 samples")


def test_pictures_that_cannot_be_shown_are_not_drawn(tmp_path):
    drawn = []

    def draw(n):
        drawn.append(n)
        return picture()

    report.write(
        tmp_path / "r.html",
        "title",
        (Item(str(n), lambda n=n: draw(n), {"auc": n * 37 % 1000}) for n in range(1000)),
        most=12,
    )
    assert len(drawn) < 250


@pytest.mark.parametrize(
    ("name", "less"),
    [("average_l2", True), ("kl", True), ("error_cm", True), ("auc", False), ("cc", False), ("in_frame_ap", False)],
)
def test_names_tell_whether_less_is_better(name, less):
    assert report.less_is_better(name) == less


# ---- writing ----


def test_a_report_is_complete_or_not_there(tmp_path):
    (tmp_path / "old.html").write_text("old")

    def broken():
        yield from items([0.5])
        raise RuntimeError("broken sample")

    for name in ("old.html", "new.html"):
        with pytest.raises(RuntimeError, match="broken sample"):
            report.write(tmp_path / name, "title", broken())
    assert [path.name for path in tmp_path.iterdir()] == ["old.html"] and (tmp_path / "old.html").read_text() == "old"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(GazeError, match="there is no folder"):
        report.write(tmp_path / "missing" / "r.html", "title", [])


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(GazeError, match="cannot be written"):
        report.write(tmp_path / "folder", "title", [])
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


# ---- in a browser ----


class Page(HTMLParser):
    """What a browser made of a report: title, names of the samples in view, count, classes of the root."""

    def __init__(self, text):
        super().__init__()
        self.title = self.count = ""
        self.names, self.root, self.tags, self._inside, self._in_view = [], {}, [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        self.tags.append(tag)
        self._inside.append((tag, told.get("id", "")))
        if tag == "html":
            self.root = told
        if tag == "article":
            self._in_view = "hidden" not in told
        if tag == "h2" and self._in_view:
            self.names.append("")

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop()[0] != tag:
            continue
        if tag == "article":
            self._in_view = False

    def handle_data(self, text):
        here = [tag for tag, _ in self._inside]
        if here[-1:] == ["title"]:
            self.title += text
        elif here[-1:] == ["h2"] and self._in_view:
            self.names[-1] += text
        elif ("output", "count") in self._inside:
            self.count += text


def browse(path, view=""):
    """The page as the browser shows it; `view` is the part of the address after #."""
    told = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    told += " --disable-component-update --disable-sync --disable-dev-shm-usage --dump-dom"
    profile = f"--user-data-dir={path.parent / 'profile'}"
    command = [BROWSER, *told.split(), profile, f"{path.as_uri()}#{view}"]
    return Page(subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout)


@pytest.fixture(scope="module")
def nasty_report(tmp_path_factory):
    """Five samples with hostile names: a auc .5, b none, c .9, d .1, e .7; average_l2 is 1 - auc."""
    path = tmp_path_factory.mktemp("report") / "r.html"
    names = [f"{letter} {nasty}" for letter, nasty in zip("abcde", [*NASTY, "plain"], strict=True)]
    scores = [0.5, math.nan, 0.9, 0.1, 0.7]
    text = {"note": "The <Kitchen>"}
    many = [
        Item(name, picture(), {"auc": score, "average_l2": 1 - score}, text if score > 0.6 else {})
        for name, score in zip(names, scores, strict=True)
    ]
    report.write(path, "Report </title><script>1</script>", many)
    return path, names


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_shows_hostile_names_as_text(nasty_report):
    path, names = nasty_report
    page = browse(path)
    assert page.title == "Report </title><script>1</script>"
    assert page.names == names and page.count == "5 of 5 shown"
    assert page.root["class"] == "live"  # the page's script was allowed to run and came to its end
    assert page.tags.count("script") == 1 and page.tags.count("b") == 1 and page.tags.count("img") == 5 + 1


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.parametrize(
    ("view", "letters"),
    [
        ("sort=auc&order=desc&theme=dark", "ceadb"),
        ("sort=auc&order=asc&by=auc&min=0.2&max=0.8", "ae"),
        ("sort=average_l2&filter=KITCHEN+the", "ce"),
        ("sort=average_l2&order=desc&pick=top&n=3", "dae"),
    ],
)
def test_the_address_leads_to_a_view(nasty_report, view, letters):
    path, names = nasty_report
    page = browse(path, view)
    assert page.names == [next(name for name in names if name[0] == letter) for letter in letters]
    assert page.count == f"{len(letters)} of 5 shown"
    assert page.root.get("data-theme") == ("dark" if "dark" in view else None)
