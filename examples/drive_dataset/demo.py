"""Recordings of cars become a data set, over two sites of this machine, one of them in another country. Started by `make demo`.

Guarantees: it says which recordings it takes (DRIVE_DATA, else `../shared/drive-data` beside the checkout, else drives that it makes up);
recordings are worked on at the site of their country alone, and only statistics leave it; it uses the installation in BUSHEL_HOME and
leaves it running; run again it does nothing twice; it ends with 0 exactly when every check at its end holds.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import obstore

import bushel

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
BUSHEL = [sys.executable, "-P", "-m", "bushel.cli.main"]
STAGE_PYTHON = HERE / "python"
CONFLICT = 6  # exit code
SETS = (
    "register",
    "validated",
    "decoded",
    "synchronised",
    "protected",
    "selected",
    "split",
    "candidates",
    "measured",
    "training",
    "trained",
)
UNITS = {"_m_s2": " m/s²", "_m_s": " m/s", "_m": " m", "_deg": "°", "_seconds": " s"}
SITES = {"us": "local", "dk": "north"}  # jurisdiction → site


def main() -> int:
    began = time.monotonic()
    chapter("Recordings")
    data = recordings()
    dealt = deal(data)

    chapter("The platform, and a second site in Denmark")
    show("up")
    second_site()
    places()

    chapter("The pipeline")
    document = str((HERE / "pipeline.yaml").relative_to(Path.cwd())) if HERE.is_relative_to(Path.cwd()) else str(HERE / "pipeline.yaml")
    show("pipeline", "apply", document)
    values = {
        "data": str(data),
        "python": python_of_the_stages(),
        "library": library(),
        **{code: ",".join(folders) for code, folders in dealt.items()},
    }
    words = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    show("pipeline", "run", "drive", *words, "--wait")
    show("pipeline", "partitions", "drive", "select")
    show("pipeline", "records", "drive")

    chapter("What came of it")
    right = results(dealt)
    chapter(f"Done in {time.monotonic() - began:.0f} s. Bushel runs on; try next")
    for words_, why in (
        ("pipeline grid drive", "each stage of each group of recordings"),
        ("dataset ls drive/", "all that was made"),
        ("dataset lineage drive/training", "what it was made from, and by whom"),
        (f"pipeline why-run drive train {next(iter(dealt))}", "why anything was done again"),
        ("down", "stops the platform"),
    ):
        print(f"  bushel {words_:<34} {why}", flush=True)
    return 0 if right else 1


# Recordings --------------------------------------------------------------------------------------------------------


def recordings() -> Path:
    named, shared = os.environ.get("DRIVE_DATA"), CHECKOUT.parent / "shared" / "drive-data"
    if named:
        if not Path(named).is_dir():
            sys.exit(f"DRIVE_DATA={named} is no folder: name one with recordings in folders, or leave it out to have some made up")
        print(f"  real ones, in {named} (DRIVE_DATA)")
        return Path(named).resolve()
    if shared.is_dir():
        print("  real ones, in ../shared/drive-data")
        return shared
    folder = home() / "drive-demo" / "made-up"
    print(f"  made up, in {folder}: there is no ../shared/drive-data, and DRIVE_DATA names no folder")
    if not (folder / "truth").is_dir():
        stage("drive_dataset.generate", str(folder))
    return folder


def deal(data: Path) -> dict[str, list[str]]:
    """Folders by jurisdiction, as the owner of the recordings says. What says nothing of where it was made counts as American here."""
    found = json.loads(stage("drive_dataset.deal", str(data)).splitlines()[-1])
    if not found:
        sys.exit(f"no recording in the folders of {data}: examples/drive_dataset/README.md says what is read")
    dealt = {code: found.get(code, []) for code in SITES}
    nowhere = [folder for code, folders in found.items() if code not in SITES for folder in folders]
    dealt["us"] += nowhere
    for code, folders in dealt.items():
        print(
            f"  {code}: {', '.join(folders) or 'none'}"
            + (f" (of which {', '.join(nowhere)} say not where)" if code == "us" and nowhere else "")
        )
    return dealt


def stage(*words: str) -> str:
    done = subprocess.run([STAGE_PYTHON, "-m", *words], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def python_of_the_stages() -> str:
    """The interpreter itself: the script would look at each start whether its environment is there."""
    done = subprocess.run([STAGE_PYTHON, "-c", "import sys; print(sys.executable)"], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def library() -> str:
    """Where tasks find `bushel.data`: beside what this installation runs from."""
    places = (Path(module.__file__ or "").parents[1] for module in (bushel, obstore))
    return os.pathsep.join(dict.fromkeys(map(str, places)))


# The platform ------------------------------------------------------------------------------------------------------


def home() -> Path:
    return Path(os.environ.get("BUSHEL_HOME") or Path.home() / ".bushel").resolve()


def second_site() -> None:
    clusters = json.loads(ask("cluster", "ls", "-o", "json"))["items"]
    if not any(cluster["site"] == SITES["dk"] for cluster in clusters):
        pose = ["--jurisdiction", "dk", "--cpu", "2", "--memory", "4GiB"]
        names = (f"north-{number}" for number in range(1, 100))
        next(name for name in names if show("cluster", "add", name, "--site", SITES["dk"], *pose, expect=(0, CONFLICT)) == 0)


def places() -> None:
    """A place for data at each site, under its law, and one for what may leave."""
    known = {place["name"] for place in json.loads(ask("storage", "ls", "-o", "json"))["items"]}
    stored = home() / "drive-demo" / "stored"
    for code, site in SITES.items():
        if f"drive-{code}" not in known:
            (stored / code).mkdir(parents=True, exist_ok=True)
            show("storage", "add", f"drive-{code}", str(stored / code), "--jurisdiction", code, "--site", site)
    if "drive-released" not in known:
        (stored / "released").mkdir(parents=True, exist_ok=True)
        show("storage", "add", "drive-released", str(stored / "released"))
    there = {item["name"] for item in json.loads(ask("dataset", "ls", "-o", "json"))["items"]}
    for name in SETS:
        if f"drive/{name}" not in there:
            ask(
                "dataset",
                "add",
                f"drive/{name}",
                *[word for code in SITES for word in ("--place", f"drive-{code}")],
                "--purpose",
                "training",
            )
    if "drive/statistics" not in there:
        show("dataset", "add", "drive/statistics", "--place", "drive-released", "--purpose", "training", "--released")


def results(dealt: dict[str, list[str]]) -> bool:
    show("dataset", "get", "drive/training")
    with tempfile.TemporaryDirectory(prefix="bushel-drive-") as folder:
        statistics, training, trained, selected = (fetched(folder, name) for name in ("statistics", "training", "trained", "selected"))
        samples = {code: json.loads((statistics / code / "statistics.json").read_text()) for code in dealt if (statistics / code).is_dir()}
        print()
        for code, about in samples.items():
            everything = about["statistics"]["all"]
            counts = f"{everything['samples']} samples of {everything['recordings']} recordings in {everything['shards']} shards"
            blurred = f"; faces and plates blurred in {everything['pictures']} pictures: {everything['blurred']}"
            print(f"  {code}: {counts}{blurred if everything['pictures'] else '; no pictures'}")
            print(f"      chosen for {', '.join(f'{reason} ({count})' for reason, count in everything['reasons'].items())}")
        print("\n  Why, for example")
        for line in examples(selected, fetched(folder, "register")):
            print(f"    {line}")
        print("\n  From a shard back to the drive")
        for code in samples:
            index = next((training / code).rglob("index.parquet"))
            print(f"    {stage('drive_dataset.trace', str(index)).strip()}", flush=True)
        astray = [str(path) for code in dealt for path in out_of_place(fetched(folder, "register") / code / "register.json", code)]
        learnt = {path.parent.name: json.loads(path.read_text()) for path in trained.rglob("trained.json")}
        released = {path.name for path in statistics.rglob("*") if path.is_file()}
    checks = {
        "every site with recordings made a data set": set(samples) == {code for code, folders in dealt.items() if folders},
        "nothing leaks from what is trained on to what is tested with": all(
            about["statistics"]["leaks"] == 0 for about in samples.values()
        ),
        "every gate holds": all(gate["holds"] for about in samples.values() for gate in about["gates"]),
        "nothing of a recording lies outside its country": not astray,
        "only statistics are released": released == {"statistics.json"},
        "a network learns from it": bool(learnt) and all(each["last_loss"] < each["first_loss"] for each in learnt.values()),
    }
    print()
    for claim, holds in checks.items():
        print(f"  {'yes' if holds else 'NO '}  {claim}")
    return all(checks.values())


def examples(selected: Path, register: Path) -> list[str]:
    """For each reason but the ordinary the first segment that was chosen for it, with the numbers that decided."""
    names = {one["id"]: one["name"] for file in register.rglob("register.json") for one in json.loads(file.read_text())["recordings"]}
    segments = [one for file in sorted(selected.rglob("segments.json")) for one in json.loads(file.read_text())["segments"]]
    first = {one["reason"]: one for one in reversed(segments) if one["reason"] != "ordinary"}
    told = []
    for reason, one in sorted(first.items()):
        numbers = ", ".join(measured(name, number) for name, number in one["evidence"].items())
        told.append(f"{reason} in {names[one['recording']]}, {one['end'] - one['start']:.1f} s kept: {numbers}")
    return told or ["nothing out of the ordinary was found"]


def measured(name: str, number: float) -> str:
    """`strongest -3.45 m/s²`"""
    unit = next((unit for unit in UNITS if name.endswith(unit)), "")
    return f"{name.removesuffix(unit).replace('_', ' ')} {number:g}{UNITS.get(unit, '')}"


def out_of_place(register: Path, jurisdiction: str) -> list[Path]:
    """Whatever bears the name of a recording of this jurisdiction and lies in another's place, or among what is released."""
    if not register.is_file():
        return []
    ids = {one["id"] for one in json.loads(register.read_text())["recordings"]}
    elsewhere = [place for place in (home() / "drive-demo" / "stored").iterdir() if place.name != jurisdiction]
    return [path for place in elsewhere for path in place.rglob("*") if any(name in path.as_posix() for name in ids)]


def fetched(folder: str, name: str) -> Path:
    """A copy of the newest version, part by part, for the person who runs this: the administrator of both sites."""
    target = Path(folder) / name
    if target.is_dir():
        return target
    ask("dataset", "download", f"drive/{name}", str(target))
    return target


# Talking -----------------------------------------------------------------------------------------------------------


def chapter(title: str) -> None:
    print(f"\n{bold(title)}", flush=True)


def show(*words: str, expect: int | tuple[int, ...] = 0) -> int:
    """Run a command as a person would see it, on the terminal if there is one."""
    print(f"\n{bold('$ bushel ' + shlex.join(words))}", flush=True)
    code = subprocess.run([*BUSHEL, *words], check=False).returncode
    if code not in (expect if isinstance(expect, tuple) else (expect,)):
        sys.exit(f"bushel {shlex.join(words)} ended with {code}, not {expect}")
    return code


def ask(*words: str) -> str:
    done = subprocess.run([*BUSHEL, *words], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stderr}bushel {shlex.join(words)} ended with {done.returncode}")
    return done.stdout


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


if __name__ == "__main__":
    sys.exit(main())
