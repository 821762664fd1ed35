"""Why a run failed: each kind of failure, from the exception to remedies that make a valid configuration."""

import doctest
import errno
import signal
import sys
import time

import httpx2
import pytest
from PIL import UnidentifiedImageError

from superft_hf import doctor, errors, oom_kills, raw_errors
from superft_hf.config import RunConfig
from superft_hf.config_file import make_config
from superft_hf.doctor import diagnose
from superft_hf.errors import SuperFTError, WorkerDiedError
from superft_hf.oom_kills import KillsFound, find_kills
from superft_hf.records import Remedy

GIB = 2**30


@pytest.fixture(autouse=True)
def _no_records_of_kills(monkeypatch):
    """What the machine of the tests went through must not show."""
    monkeypatch.setattr(raw_errors, "find_kills", KillsFound)


def config_of(**groups) -> RunConfig:
    values = {"model": {"name_or_path": "acme/net"}, "data": {"name_or_path": "acme/cells"}}
    for name, group in groups.items():
        values[name] = {**values.get(name, {}), **group}
    return make_config(values)


def with_remedy(config: RunConfig, remedy: Remedy) -> RunConfig:
    """The configuration of the new run; raises ConfigError when it is none."""
    values = config.model_dump(mode="json")
    for key, value in remedy.changes.items():
        group, _, name = key.rpartition(".")
        values[group][name] = value
    return make_config(values)


def titles(failure) -> list[str]:
    return [one.title for one in failure.remedies]


def test_doctor__examples():
    assert doctest.testmod(doctor).failed == 0


# Out of memory


def test_out_of_memory__halves_the_batch_and_doubles_the_accumulation():
    config = config_of(training={"gradient_accumulation_steps": 3})
    failure = diagnose(errors.OutOfMemoryError(32, "cuda:0"), config)

    assert failure.kind == "OutOfMemoryError"
    assert failure.message == "Out of memory on cuda:0 with 32 images a step."
    assert titles(failure) == ["Repeat with batch 16 × 6", "Repeat and find the batch by itself"]
    training = with_remedy(config, failure.remedies[0]).training
    assert (training.per_device_train_batch_size, training.gradient_accumulation_steps) == (16, 6)
    assert with_remedy(config, failure.remedies[1]).training.auto_find_batch_size is True


def test_out_of_memory__an_odd_batch_is_divided_without_a_rest():
    config = config_of(training={"per_device_train_batch_size": 9})
    assert titles(diagnose(errors.OutOfMemoryError(9, "cpu"), config))[0] == "Repeat with batch 3 × 3"


def test_out_of_memory__several_processes_cannot_find_the_batch_by_themselves():
    config = config_of(hardware={"num_processes": 2})
    assert titles(diagnose(errors.OutOfMemoryError(32, "cuda:0"), config)) == ["Repeat with batch 16 × 2"]


def test_out_of_memory__a_batch_of_one_leaves_smaller_images():
    config = config_of(training={"per_device_train_batch_size": 1}, model={"image_size": 224})
    failure = diagnose(errors.OutOfMemoryError(1, "cuda:0"), config)
    assert [dict(one.changes) for one in failure.remedies] == [{"model.image_size": 112}]


def test_out_of_memory__torch_says_so_outside_a_training_step():
    text = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB"
    failure = diagnose(RuntimeError(text), config_of())
    assert (failure.kind, failure.message) == (
        "OutOfMemoryError",
        "Out of memory on the GPU with 32 images a step.",
    )
    assert len(failure.remedies) == 2


def test_out_of_memory__in_an_evaluation_the_eval_batch_is_halved():
    def prediction_step():
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")

    try:
        prediction_step()
    except RuntimeError as error:
        failure = diagnose(error, config_of())
    assert failure.kind == "EvalOutOfMemoryError"
    assert "the CPU while evaluating 64 images" in failure.message
    assert [dict(one.changes) for one in failure.remedies] == [{"training.per_device_eval_batch_size": 32}]


def test_out_of_memory__a_run_that_takes_more_than_its_share():
    config = config_of(training={"dataloader_num_workers": 2})
    failure = diagnose(errors.MemoryLimitError(3 * 10**9, 2 * 10**9), config)
    assert titles(failure) == ["Repeat without loader processes", "Repeat with batch 16 × 2"]


# Diverged, no progress, images


def test_diverged__a_tenth_of_the_learning_rate():
    failure = diagnose(errors.DivergedError(7, 2e-4), config_of(training={"learning_rate": 2e-4}))
    assert failure.message == "The loss is no longer a number at step 7."
    assert [(one.title, dict(one.changes)) for one in failure.remedies] == [
        ("Repeat with learning rate 0.00002", {"training.learning_rate": 2e-5})
    ]


def test_diverged__half_precision_and_unclipped_gradients_have_remedies_of_their_own():
    config = config_of(hardware={"mixed_precision": "fp16"}, training={"max_grad_norm": 0.0})
    failure = diagnose(errors.DivergedError(7, 2e-4), config)
    assert [dict(one.changes) for one in failure.remedies[1:]] == [
        {"hardware.mixed_precision": "bf16"},
        {"hardware.mixed_precision": "no"},
        {"training.max_grad_norm": 1.0},
    ]


def test_diverged__seen_first_by_a_metric():
    failure = diagnose(ValueError("Input contains NaN."), config_of())
    assert (failure.kind, failure.message) == ("DivergedError", "The loss is no longer a number.")


def test_no_progress__no_loaders_or_a_longer_wait():
    config = config_of(training={"dataloader_num_workers": 4, "hang_timeout_s": 600.0})
    failure = diagnose(errors.NoProgressError("10 min"), config)
    assert [(one.title, dict(one.changes)) for one in failure.remedies] == [
        ("Repeat without loader processes", {"training.dataloader_num_workers": 0}),
        ("Repeat, waiting 40 min", {"training.hang_timeout_s": 2400.0}),
    ]
    assert titles(diagnose(errors.NoProgressError("30 min"), config_of())) == ["Repeat, waiting 2 h"]


def test_no_progress__who_waits_a_week_already_is_offered_nothing():
    config = config_of(training={"hang_timeout_s": 604_800.0})
    assert diagnose(errors.NoProgressError("7 d"), config).remedies == ()


@pytest.mark.parametrize(
    "error",
    [
        errors.BadImageError(["cells/7.png"], "it is cut off"),
        UnidentifiedImageError("cannot identify image file 'cells/7.png'"),
    ],
)
def test_bad_image__is_skipped(error):
    failure = diagnose(error, config_of())
    assert failure.kind == "BadImageError" and "cells/7.png" in failure.message
    assert [dict(one.changes) for one in failure.remedies] == [{"data.on_bad_image": "skip"}]
    assert diagnose(error, config_of(data={"on_bad_image": "skip"})).remedies == ()


def test_error_in_a_loader_process__is_told_from_the_text_that_torch_leaves():
    text = (
        "Caught BadImageError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "a.py", line 3, in b\nsuperft_hf.errors.BadImageError: The file 7.png is not readable.'
    )
    failure = diagnose(RuntimeError(text), config_of())
    assert (failure.kind, failure.message) == ("BadImageError", "The file 7.png is not readable.")
    assert titles(failure) == ["Repeat without unreadable images"]

    text = "Caught KeyError in DataLoader worker process 0.\nOriginal Traceback:\nKeyError: 'label'"
    assert diagnose(KeyError(text), config_of()).message == "KeyError: 'label'"


# What is gone, and what is out of reach


def test_lost_folder__is_named_and_nothing_is_changed(tmp_path):
    folder = tmp_path / "cells"
    folder.mkdir()
    config = config_of(data={"name_or_path": str(folder)})
    error = errors.DataNotFoundError(f"The image {folder}/1.png cannot be read: No such file.", hint="Put it")
    assert diagnose(error, config).message == error.message  # the folder is there

    folder.rmdir()
    failure = diagnose(error, config)
    assert failure.message == f"The images are gone: there is no {folder}."
    assert failure.hint.startswith("Bring it back, then resume the run.")
    assert (failure.kind, failure.remedies) == ("DataNotFoundError", ())
    assert diagnose(FileNotFoundError(2, "No such file"), config) == failure


def test_lost_folder__is_no_reason_for_an_error_about_something_else(tmp_path):
    config = config_of(data={"name_or_path": str(tmp_path / "gone")})
    assert diagnose(errors.DivergedError(1, 1e-3), config).kind == "DivergedError"


def test_lost_model__is_named(tmp_path):
    config = config_of(model={"name_or_path": str(tmp_path / "net")})
    failure = diagnose(errors.ModelNotFoundError("no config.json"), config)
    assert failure.message == f"The model is gone: there is no {tmp_path}/net."


@pytest.mark.parametrize(
    "error",
    [
        errors.HubUnreachableError("The Hub does not answer.", hint="Try again."),
        errors.TokenRefusedError("The Hub refuses the token.", hint="Log in again."),
        errors.GatedError("The model wants its terms accepted.", hint="Accept them."),
    ],
)
def test_hub__nothing_is_changed_and_the_run_goes_on_later(error):
    failure = diagnose(error, config_of())
    assert (failure.kind, failure.message, failure.remedies) == (error.kind, error.message, ())
    assert failure.hint == f"{error.hint} Then resume the run."


def test_hub__an_exception_of_its_client_is_worded():
    request = httpx2.Request("GET", "https://huggingface.co/acme/net")
    failure = diagnose(httpx2.ConnectError("Name or service not known", request=request), config_of())
    assert failure.kind == "HubUnreachableError"
    assert failure.hint.endswith("Then resume the run.")


# Disk, rights, files, memory that is shared


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/data/x"),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "/data/x"),
    ],
)
def test_full_disk__is_freed_before_the_run_goes_on(error, tmp_path):
    failure = diagnose(error, config_of(), tmp_path / "20261124-0000-aaaa" / "worker.log")
    assert failure.kind == "DiskFullError" and failure.remedies == ()
    where = "/data/x" if isinstance(error, OSError) else f"{tmp_path}/20261124-0000-aaaa"
    assert failure.message == f"The disk of {where} is full."
    assert failure.hint.startswith("Free some space") and failure.hint.endswith("Then resume the run.")


def test_full_shared_memory__is_not_taken_for_a_full_disk():
    text = "unable to write to file </torch_7_12>: No space left on device (28)"
    config = config_of(training={"dataloader_num_workers": 2})
    failure = diagnose(RuntimeError(text), config)
    assert failure.kind == "SharedMemoryError"
    assert [dict(one.changes) for one in failure.remedies] == [{"training.dataloader_num_workers": 0}]


def test_too_many_open_files__are_not_taken_for_shared_memory():
    text = "unable to open shared memory object </torch_7> in read-write mode: Too many open files (24)"
    assert diagnose(RuntimeError(text), config_of()).kind == "OpenFilesError"
    assert diagnose(OSError(errno.EMFILE, "Too many open files"), config_of()).kind == "OpenFilesError"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/data/x"), "The disk of /data/x can only be read."),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "There is no right to use /data/x."),
    ],
)
def test_no_access(error, message):
    failure = diagnose(error, config_of())
    assert (failure.kind, failure.message, failure.remedies) == ("AccessError", message, ())
    assert failure.hint.endswith("Then resume the run.")


# Drivers


@pytest.mark.parametrize(
    "text",
    [
        "The NVIDIA driver on your system is too old (found version 11040).",
        "CUDA driver version is insufficient for CUDA runtime version",
        "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might",
        "Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility was attempted on non "
        "supported HW",
    ],
)
def test_driver__can_be_updated_or_done_without(text):
    config = config_of(hardware={"devices": "0,1", "num_processes": 2, "mixed_precision": "fp16"})
    failure = diagnose(RuntimeError(text), config)
    assert failure.kind == "CudaDriverError"
    assert text.splitlines()[0].rstrip(".") in failure.message and "\n" not in failure.message
    assert titles(failure) == ["Repeat on the CPU"]
    hardware = with_remedy(config, failure.remedies[0]).hardware
    assert (hardware.devices, hardware.num_processes, hardware.mixed_precision) == ("cpu", 1, "auto")


# Killed from outside


def test_killed__may_have_been_for_want_of_memory():
    error = WorkerDiedError("The worker was killed (signal 9); the system may have …", returncode=-9)
    failure = diagnose(error, config_of(training={"dataloader_num_workers": 2}))
    assert (failure.kind, failure.message) == ("WorkerDiedError", error.message)
    assert titles(failure) == ["Repeat without loader processes", "Repeat with batch 16 × 2"]


def test_killed__the_system_says_so(monkeypatch):
    monkeypatch.setattr(raw_errors, "find_kills", lambda: KillsFound(True, 3))
    for returncode in (None, -9):
        failure = diagnose(WorkerDiedError("It is gone.", returncode=returncode), config_of())
        assert failure.message == "The system was out of memory and ended the worker."
        assert titles(failure) == ["Repeat with batch 16 × 2"]


def test_killed__the_system_has_done_so_at_some_time(monkeypatch):
    monkeypatch.setattr(raw_errors, "find_kills", lambda: KillsFound(False, 3))
    failure = diagnose(WorkerDiedError("It is gone.", returncode=-9), config_of())
    assert "perhaps by the system for want of memory: it has ended 3 processes" in failure.message
    assert diagnose(WorkerDiedError("It is gone."), config_of()).message == "It is gone."


def test_killed__a_bus_error_is_shared_memory():
    failure = diagnose(WorkerDiedError("It is gone.", returncode=-signal.SIGBUS), config_of())
    assert failure.kind == "SharedMemoryError"


def test_killed__a_loader_process():
    text = "DataLoader worker (pid 4242) is killed by signal: Killed. "
    failure = diagnose(RuntimeError(text), config_of(training={"dataloader_num_workers": 2}))
    assert failure.kind == "WorkerDiedError" and "loader process was ended" in failure.message
    assert titles(failure)[0] == "Repeat without loader processes"


def test_worker_died__its_log_may_say_why(tmp_path):
    log = tmp_path / "worker.log"
    log.write_text(
        "epoch 1\nTraceback (most recent call last):\n"
        "[rank1]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n"
    )
    failure = diagnose(WorkerDiedError("Another process of this run is gone."), config_of(), log)
    assert failure.kind == "OutOfMemoryError" and len(failure.remedies) == 2

    log.write_text("UserWarning: CUDA initialization: Found no NVIDIA driver on your system\nepoch 1\n")
    failure = diagnose(WorkerDiedError("It is gone.", returncode=1), config_of(), log)
    assert failure.kind == "WorkerDiedError"


def test_find_kills__counters_and_kernel_messages(tmp_path):
    events, vmstat, messages = (tmp_path / name for name in ("memory.events", "vmstat", "kmsg"))
    events.write_text("low 0\noom 2\noom_kill 2\noom_group_kill 0\n")
    vmstat.write_text("nr_free 7\noom_kill 5\n")
    assert find_kills(messages, (events, vmstat, tmp_path / "none")) == KillsFound(False, 5)
    assert find_kills(messages, ()) == KillsFound(False, 0)

    def said(seconds_ago: float, name: str) -> KillsFound:
        moment = int((time.monotonic() - seconds_ago) * 1e6)
        messages.write_text(
            f"6,1,{moment},-;usb 1-1: new device\n"
            f"3,2,{moment},-;Out of memory: Killed process 4242 ({name}) total-vm:9kB\n"
        )
        return find_kills(messages, ())

    assert said(20, "python3").is_recent
    assert not said(1000, "python3").is_recent
    assert not said(20, "chrome").is_recent


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux keeps")
def test_find_kills__of_this_machine():
    found = find_kills()
    assert found.count >= 0 and found.is_recent in (True, False)
    assert any(path.exists() for path in oom_kills.COUNTERS)


# Unknown errors and the log


def test_unknown__class_name_first_line_and_log(tmp_path):
    log = tmp_path / "worker.log"
    log.write_text("epoch 1\nKeyError: 'x'\n")
    failure = diagnose(KeyError("what is this\nsecond line"), config_of(), log)
    assert failure.kind == "KeyError" and failure.log == ("epoch 1", "KeyError: 'x'")
    assert failure.remedies == () and failure.hint == "The log of the run has the details."
    assert diagnose(ValueError("no line\nof two")).message == "no line"


def test_without_a_configuration_there_are_no_remedies():
    assert diagnose(errors.OutOfMemoryError(32, "cuda:0")).remedies == ()


def test_tokens_are_masked_wherever_they_are(tmp_path):
    log = tmp_path / "worker.log"
    log.write_text("Authorization: Bearer hf_abcdefghijklmnop\n")
    failure = diagnose(ValueError("token hf_abcdefghijklmnop is bad"), None, log)
    assert failure.message == "token hf_… is bad"
    assert failure.log == ("Authorization: Bearer hf_…",)
    assert "hf_a" not in diagnose(errors.HubError("hf_abcdefghijk", hint="hf_abcdefghijk")).hint


def test_last_lines__twenty_that_hold_words_without_control_sequences(tmp_path):
    log = tmp_path / "worker.log"
    lines = [f"line {number}\n\n=====\n" for number in range(30)]
    log.write_text(
        "".join(lines)
        + "\x1b[31mred\x1b[0m \x1b]0;title\x07words\x00\n"
        + "loading   0 %\rloading  50 %\rloading 100 %\r\n"
    )
    found = doctor.last_lines(log)
    assert len(found) == 20
    assert found[-3:] == ("line 29", "red words", "loading 100 %")
    assert found[0] == "line 12"


def test_last_lines__a_huge_log_is_read_from_its_end(tmp_path):
    log = tmp_path / "worker.log"
    with log.open("wb") as opened:
        opened.truncate(GIB)
        opened.seek(GIB)
        opened.write(b"\nthe end\n" + b"\xff\xfe cut \xc3\n" + b"x" * 2000)
    begin = time.perf_counter()
    found = doctor.last_lines(log)
    assert time.perf_counter() - begin < 1
    assert found[0] == "the end" and "cut" in found[1]
    assert len(found[2]) == doctor.MAX_LINE and found[2].endswith("x…")


def test_last_lines__no_log(tmp_path):
    assert doctor.last_lines(tmp_path / "none.log") == ()
    assert doctor.last_lines(tmp_path) == ()


# Every remedy

KINDS = [
    errors.OutOfMemoryError(4, "cuda:0"),
    errors.EvalOutOfMemoryError(4, "cuda:0"),
    errors.MemoryLimitError(2, 1),
    errors.DivergedError(1, 1e-3),
    errors.NoProgressError("a day"),
    errors.BadImageError(["a"], "b"),
    errors.CudaDriverError("c"),
    errors.SharedMemoryError("d"),
    errors.OpenFilesError("e"),
    WorkerDiedError("f", returncode=-9),
]
CONFIGS = [
    config_of(),
    config_of(training={"per_device_train_batch_size": 1, "per_device_eval_batch_size": 1}),
    config_of(
        model={"image_size": 16},
        training={
            "per_device_train_batch_size": 65_521,  # a prime
            "gradient_accumulation_steps": 4096,
            "learning_rate": 1e-300,
            "hang_timeout_s": 604_000.0,
            "max_grad_norm": 0.0,
            "dataloader_num_workers": 256,
        },
        hardware={"mixed_precision": "fp16", "num_processes": 64, "devices": "0,1"},
    ),
    config_of(
        model={"image_size": 2048},
        training={"per_device_train_batch_size": 1, "auto_find_batch_size": True},
    ),
]


@pytest.mark.parametrize("error", KINDS, ids=lambda one: one.kind)
@pytest.mark.parametrize("config", CONFIGS)
def test_every_remedy_makes_another_valid_configuration(error: SuperFTError, config: RunConfig):
    for remedy in diagnose(error, config).remedies:
        assert with_remedy(config, remedy) != config, remedy
        assert remedy.title.startswith("Repeat") and len(remedy.title) <= 45


def test_every_kind_has_a_remedy_for_some_configuration():
    for error in KINDS:
        assert any(diagnose(error, config).remedies for config in CONFIGS), error.kind
