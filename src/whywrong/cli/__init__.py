"""The command line. Each command has its own file; it parses options, calls one function and prints the result.

Results go to stdout, messages to stderr. Exit codes: 0 done, 1 done with failed items, 2 wrong use or input, 3 the
environment failed (disk, memory, a worker) or an internal error, 4 a rule of --fail-on holds, 5 such a rule is
undecided, 130 interrupted and resumable.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Annotated, NoReturn, cast

import typer

from whywrong.cli import (
    check,
    demo,
    diagnose,
    dissect,
    distil,
    doctor,
    explain,
    query,
    repair,
    report,
    spurious,
    status,
    train,
    verdict,
)
from whywrong.cli.help import PlainCommand, PlainGroup
from whywrong.cli.streams import count, left_threads, plain_warnings, prepare_streams, say
from whywrong.cli.trials import benchmark, plant, reproduce, robustness
from whywrong.core.errors import EXIT_ENVIRONMENT, EXIT_INTERRUPTED, EXIT_WRONG_USE, WhyWrongError

app = typer.Typer(
    name="whywrong",
    cls=PlainGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for command, short in (
    (demo.demo, "Diagnose a small model and see its report in a minute."),
    (check.check, "Check that model, labels and preprocessing fit together."),
    (diagnose.diagnose, "Find the misclassified images and explain each."),
    (verdict.verdict, "Find and test the cause of each error of a run."),
    (repair.repair, "List what to do about the errors, and measure fine-tuning on them."),
    (explain.explain, "Explain one image with all methods."),
    (report.report, "Write the report of a run again."),
    (query.query, "Query the tables of a run with SQL."),
    (status.status, "Show how far a run is."),
    (plant.plant, "Make mistakes with known causes."),
    (reproduce.reproduce, "Test a paper's finding on your model and images."),
    (spurious.spurious, "Find features that stand for a class but are not the object."),
    (dissect.dissect, "Find what the units of a layer detect, and which promote errors."),
    (train.train, "Train a capsule network, a convnet or a transformer."),
    (distil.distil, "Train a stand-in for a model that only answers."),
    (robustness.robustness, "Compare models under shifts, corruptions, attacks and patches."),
    (doctor.doctor, "Show versions, devices and missing packages."),
):
    app.command(cls=PlainCommand, short_help=short)(command)
app.add_typer(benchmark.app, name="benchmark")

UsageError = cast(
    type[Exception], typer.BadParameter.__bases__[0]
)  # typer has its own copy of click since 0.24: use typer's, not click's


@app.callback(invoke_without_command=True)
def whywrong(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="WHYWRONG_DEBUG", help="Show the traceback of every error.")
    ] = False,
) -> None:
    """Why did an image classifier get these images wrong?

    The network is used only if you ask for it, to download weights or to query an endpoint.

    \b
    Start here:
      whywrong demo                                a small model, its planted mistakes, a report
      whywrong check MODEL DATA                    do model, labels and preprocessing fit together?
      whywrong diagnose MODEL DATA --out RUN       find and explain the errors; the same command resumes

    \b
    MODEL is planted:NAME, timm:NAME, torchvision:NAME, hf:FOLDER, FILE.py:FUNCTION, FILE.onnx, FILE.toml,
    FILE.pt2, surrogate:FILE or trained:DIR.
    DATA is a folder of class folders, a folder with --manifest, a CSV or Parquet manifest, an .npz file, or
    planted:test, planted:causes and planted:marked, which ship with the package.

    \b
    Exit codes: 0 done, 1 done with failed items, 2 wrong use or input,
    3 the environment failed, 4 a rule of --fail-on holds, 5 it is undecided (--strict),
    130 interrupted (the same command resumes the run).
    """
    if version:
        from whywrong import __version__

        typer.echo(f"whywrong {__version__}")
        raise typer.Exit
    if debug:
        os.environ["WHYWRONG_DEBUG"] = "1"
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run one command and end the process with its exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads that spin stall others where cores are shared
    prepare_streams()
    plain_warnings()
    try:
        code = app(standalone_mode=False)
        if code == EXIT_INTERRUPTED:  # Ctrl-C in a command that stores no partial results
            say("whywrong: interrupted; run the same command again")
    except UsageError as error:
        code = _tell(_usage(error), error, EXIT_WRONG_USE)
    except WhyWrongError as error:
        code = _tell(str(error), error, error.exit_code)
    except typer.Abort:
        code = EXIT_INTERRUPTED
    except (OSError, MemoryError) as error:
        code = _tell(str(error) or type(error).__name__, error, EXIT_ENVIRONMENT)
    except Exception as error:  # noqa: BLE001 - an internal error, reported as one, with a way to see more
        code = _tell(_unexpected(error), error, EXIT_ENVIRONMENT)
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End the process, even if threads left by a model would keep it running."""
    left = left_threads()
    if left:
        say(f"whywrong: note: the model left {count(left, 'thread')} running; ended with this process")
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    sys.exit(code)


def _unexpected(error: Exception) -> str:
    if "torch" in sys.modules:  # a command that never loaded torch cannot have broken a GPU
        from whywrong.models.memory import device_failed, device_failure, out_of_memory

        if device_failed(error):
            return str(device_failure(error))
        if out_of_memory(error):
            return "memory ran out; committed results stay. Free some or pass a smaller --batch-size, then run it again"
    return f"unexpected {type(error).__name__}: {error}; a fault of whywrong, run with --debug to see where"


def _tell(text: str, error: Exception, code: int) -> int:
    if os.environ.get("WHYWRONG_DEBUG"):
        import traceback

        traceback.print_exception(error)
    say(f"whywrong: {' '.join(text.split())}")  # one line, even if a library's message has several
    return code


def _usage(error: Exception) -> str:
    text = getattr(error, "format_message", error.__str__)().rstrip(".")
    context = getattr(error, "ctx", None)
    if context is None:
        return text
    return f"{text}{' See' if text.endswith('?') else '; see'} `{context.command_path} --help`"
