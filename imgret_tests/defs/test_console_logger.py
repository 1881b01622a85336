"""The console logger of runs: escaped names, no traces of an interruption, the record of the run as it is."""

import logging

import dagster as dg
import pytest

from imgret_assets.defs.build import build_defs
from imgret_assets.defs.console_logger import console_logger
from imgret_assets.errors import TableError
from imgret_assets.settings import Settings

NAME, SHOWN = "a\x1b[2J\r\x9b31mb.jpg", r"a\x1b[2J\r\x9b31mb.jpg"


def make_logger() -> logging.Logger:
    configuration = {"name": "dagster", "log_level": "INFO"}
    return console_logger().logger_fn(dg.build_init_logger_context(logger_config=configuration))  # type: ignore[return-value]


def test_names_in_messages_and_tracebacks_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    logger = make_logger()
    logger.warning("%s is broken", NAME)
    try:
        raise OSError(NAME)
    except OSError:
        logger.exception("failed")
    shown = capsys.readouterr().err
    assert f"WARNING - {SHOWN} is broken\n" in shown
    assert f"OSError: {SHOWN}\n" in shown
    assert {char for char in shown if not char.isprintable()} == {"\n"}


def test_an_interruption_has_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    make_logger().error("dagster._core.errors.DagsterExecutionInterruptedError")
    assert capsys.readouterr().err == ""


def test_levels_below_the_configured_one_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    make_logger().debug("detail")
    assert capsys.readouterr().err == ""


def test_every_run_has_this_logger(settings: Settings) -> None:
    loggers = build_defs(settings=settings).loggers
    assert loggers is not None
    assert set(loggers) == {"console"}


def test_the_event_log_keeps_the_name_as_it_is() -> None:
    """The UI shows text, and a name must be found by search."""

    @dg.op
    def log_name(context: dg.OpExecutionContext) -> None:
        context.log.info(NAME)

    @dg.job(logger_defs={"console": console_logger()})
    def logging_job() -> None:
        log_name()

    with dg.DagsterInstance.ephemeral() as instance:
        run = logging_job.execute_in_process(instance=instance)
        messages = [event.user_message for event in instance.all_logs(run.run_id)]
    assert NAME in messages


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_a_line_has_the_run_s_id_only_if_everything_is_logged(level: str, capfd: pytest.CaptureFixture[str]) -> None:
    @dg.op
    def log_name(context: dg.OpExecutionContext) -> None:
        context.log.info("three files - listed")
        context.log.warning("one is odd")

    @dg.job(logger_defs={"console": console_logger()})
    def logging_job() -> None:
        log_name()

    with dg.DagsterInstance.ephemeral() as instance:
        configuration = {"loggers": {"console": {"config": {"log_level": level}}}}
        run = logging_job.execute_in_process(configuration, instance=instance)
    lines = capfd.readouterr().err.splitlines()
    if level == "INFO":
        assert lines == ["log_name - three files - listed", "WARNING - log_name - one is odd"]
    else:
        assert len(lines) > 5
        assert all(run.run_id in line for line in lines if "three files" in line or "one is odd" in line)


def test_a_failed_run_is_two_lines_and_its_record_has_the_stack(capfd: pytest.CaptureFixture[str]) -> None:
    @dg.op
    def fail() -> None:
        raise TableError("The table is damaged", remedy="run `imgret run`")

    @dg.job(logger_defs={"console": console_logger()})
    def failing_job() -> None:
        fail()

    with dg.DagsterInstance.ephemeral() as instance:
        configuration = {"loggers": {"console": {"config": {"log_level": "INFO"}}}}
        failed = failing_job.execute_in_process(configuration, instance=instance, raise_on_error=False)
        (event,) = (event for event in failed.all_events if event.is_step_failure)
        assert event.step_failure_data.error is not None
        assert "Stack Trace" in str(event.step_failure_data.error)
    step, run = capfd.readouterr().err.splitlines()
    assert step.endswith('Execution of step "fail" failed. The table is damaged. What to do: run `imgret run`.')
    assert 'Execution of run for "failing_job" failed.' in run
