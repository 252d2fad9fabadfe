"""What can be checked, one session each: ``.venv/bin/nox --list``.

The sessions run in the environment that nox itself is installed in (``pip install -e '.[dev]'``), so that nothing is
installed twice. Only ``wheel`` makes an environment of its own: it tests what users get.
"""

from __future__ import annotations

import os
import shutil
import sys
import venv
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
TYPED = ["kernl_rt", "typing_tests"]

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["tests", "lint", "types", "layers", "docs"]


def python(session: nox.Session, *arguments: str, **environment: str) -> None:
    """Run ``python -m …`` in this environment, with its tools first on the path."""
    prefix = Path(sys.prefix)
    active = {"VIRTUAL_ENV": str(prefix), "PATH": f"{prefix / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    session.run(sys.executable, "-m", *arguments, env={**active, **environment}, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite, on all cores; arguments after ``--`` go to pytest.

    Two processes for each core: those that wait for real sockets and programs leave it to the others.
    """
    workers = str(2 * (os.cpu_count() or 1))
    python(session, "pytest", "-n", workers, "--dist", "loadfile", *session.posargs)


@nox.session
@nox.parametrize("what", ["mistakes", "format"])
def lint(session: nox.Session, what: str) -> None:
    """Style and common mistakes, without changing anything."""
    python(session, "ruff", *(["check"] if what == "mistakes" else ["format", "--check"]), ".")


@nox.session
def format(session: nox.Session) -> None:
    """Mend what ``lint`` can mend by itself."""
    python(session, "ruff", "check", "--fix", ".")
    python(session, "ruff", "format", ".")


@nox.session
@nox.parametrize("what", ["correct", "complete"])
def types(session: nox.Session, what: str) -> None:
    """mypy over the package and its typed use, and pyright's count of public names without a known type: none."""
    if what == "correct":
        python(session, "mypy", *(folder for folder in TYPED if any((ROOT / folder).rglob("*.py"))))
    else:
        # pyright looks for the package in the active environment; without one it finds nothing and reports 0 %.
        python(session, "pyright", "--verifytypes", "kernl_rt", "--ignoreexternal")


@nox.session
def layers(session: nox.Session) -> None:
    """Who imports whom, and that a forbidden import is noticed."""
    python(session, "pytest", "tests/test_layers.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into docs/_build; a warning is an error."""
    python(session, "sphinx", "-W", "--keep-going", "-q", "-E", "docs", "docs/_build/html", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """The test suite with branch coverage."""
    python(session, "coverage", "erase")
    python(session, "coverage", "run", "-m", "pytest", *session.posargs)
    python(session, "coverage", "combine", "--quiet")
    python(session, "coverage", "report")


@nox.session
def sweep(session: nox.Session) -> None:
    """Cancel the real session at every step, in 3 schedules or as many as are asked for: ``nox -s sweep -- 20``."""
    seeds = session.posargs[0] if session.posargs else "3"
    python(session, "pytest", "-n", "auto", "-s", "tests/sweep", KERNL_RT_SWEEP_SEEDS=seeds)


@nox.session
def browser(session: nox.Session) -> None:
    """Real Chromium talks to ``kernl-rt serve``; ``-- screenshot`` also renews the picture in the documentation."""
    arguments = [word for word in session.posargs if word != "screenshot"]
    wanted = len(arguments) < len(session.posargs)
    picture = {"KERNL_RT_SCREENSHOT": str(ROOT / "docs" / "_static" / "browser.png")} if wanted else {}
    python(session, "pytest", "-s", "tests/browser", *arguments, KERNL_RT_BROWSER="all", **picture)


@nox.session
def bench(session: nox.Session) -> None:
    """Every program in benchmarks/, or those named after ``--``."""
    found = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if not path.name.startswith("_"))
    chosen = [path for path in found if not session.posargs or path.stem in session.posargs]
    if not chosen:
        session.error(f"no such program in benchmarks/; there are: {[path.stem for path in found]}")
    for path in chosen:
        session.run(sys.executable, str(path), external=True)


@nox.session(name="bench-scale")
def bench_scale(session: nox.Session) -> None:
    """Cost per event, 1 to 400 calls and over a call of 24 hours (minutes); after ``--``: --part, --most, --hours."""
    session.run(sys.executable, str(ROOT / "benchmarks" / "_scale.py"), *session.posargs, external=True)


@nox.session
def soak(session: nox.Session) -> None:
    """Does anything stay behind after thousands of sessions (minutes); after ``--``: --part, --backend, --cycles."""
    session.run(sys.executable, str(ROOT / "benchmarks" / "_soak.py"), *session.posargs, external=True)


@nox.session
def fuzz(session: nox.Session) -> None:
    """A million damaged frames for every reader of foreign bytes (minutes); after ``--``: targets, --seed, --frames."""
    python(session, "tests.fuzz", *session.posargs, PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests")]))


@nox.session
def campaign(session: nox.Session) -> None:
    """Whole calls drawn from seeds (0.3 s each); after ``--``: --seeds 1000, --start S, --backend both, --log."""
    python(session, "kernl_rt.testing._campaign_main", *session.posargs)


@nox.session
def traces(session: nox.Session) -> None:
    """The promises about every order of events, 100,000 examples of each; KERNL_RT_CAMPAIGN=0.1 makes it a tenth."""
    arguments = ["--hypothesis-profile", "campaign", "--hypothesis-show-statistics", "--timeout", "0"]
    python(session, "pytest", "-n", "0", *arguments, "tests/property/test_promises.py", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it into an environment of its own, and run the test suite against it."""
    folder = Path(session.create_tmp()).resolve()
    for old in folder.glob("*.whl"):
        old.unlink()
    python(session, "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), ".")
    (built,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True, clear=True)
    inside = str(folder / "venv" / "bin" / "python")
    session.run(inside, "-m", "pip", "install", "--quiet", f"kernl_rt[dev] @ {built.as_uri()}", external=True)
    # The suite moves away from the checkout, so that only the installed package can be imported.
    suite = folder / "suite"
    shutil.rmtree(suite, ignore_errors=True)
    suite.mkdir()
    for name in ("tests", "docs"):
        shutil.copytree(ROOT / name, suite / name, ignore=shutil.ignore_patterns("__pycache__", "_build", "generated"))
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, suite)
    session.chdir(suite)
    where = "import kernl_rt, pathlib, sys; sys.exit('site-packages' not in pathlib.Path(kernl_rt.__file__).parts)"
    session.run(inside, "-c", where, external=True)
    session.run(inside, "-m", "pytest", *session.posargs, external=True)
