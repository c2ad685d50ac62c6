"""Search for files that break a reader, guided by coverage: python tests/fuzz.py [--inputs 10000] [READER ...]

Needs atheris. Each reader is searched in a process of its own, which may take 2 GB of memory, and gets each file alone in
a new folder; what broke one is kept as crash-* in the folder that is named. Exits with 1 if anything broke.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import atheris

with atheris.instrument_imports(include=["vbench_ctl"]):
    import parsers

    from vbench_ctl.errors import VbenchError


def search(parser: parsers.Parser, inputs: int, folder: Path) -> None:
    """Try inputs on one reader; this process ends with it."""
    corpus, work = folder / "corpus", folder / "work"
    for place in (corpus, work):
        place.mkdir(parents=True)
    for number, example in enumerate(parser.examples(work)):
        (corpus / f"example-{number}").write_bytes(example)

    def one(data: bytes) -> None:
        with contextlib.suppress(VbenchError):
            parsers.give(parser, data)

    options = [f"-runs={inputs}", "-rss_limit_mb=2048", "-timeout=60", "-max_len=65536", "-verbosity=0"]
    os.chdir(work)
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", "-seed=1", str(corpus)], one)
    atheris.Fuzz()


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--inputs", type=int, default=10_000)
    ask.add_argument("readers", nargs="*", default=list(parsers.known()))
    asked = ask.parse_args()
    root, broken = Path(tempfile.mkdtemp(prefix="fuzz-")), []
    for name in asked.readers:
        folder = root / name.replace(" ", "-")
        child = os.fork()
        if not child:
            search(parsers.known()[name], asked.inputs, folder)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(
            f"{name}: {asked.inputs} inputs, {'broken, see ' + str(folder) if status else 'none broke it'}", flush=True
        )
        broken += [name] if status else []
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
