"""What holds where the kernel keeps no sandbox: on macOS, and on older kernels."""

import os
import select
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from conftest import BASELINE, IDENTITY, ROOT

from harness import judge, sandbox
from harness.errors import Crash

needs_seccomp = pytest.mark.skipif(
    not sandbox.seccomp_library(), reason="no seccomp here, by which to take it away"
)
ALL_LIBRARIES = f"import {', '.join(judge.PRELOADED)}\n"
DUMMY = b"""
from sklearn.dummy import DummyClassifier as build_pipeline
def feature_fn(X):
    return X
"""
X, y = pd.DataFrame({"x": np.arange(8.0)}), np.arange(8) % 2
JOB = "a job", np.arange(4), np.arange(4, 8)
BY_CHANCE = [0.5] * 5
ALONE = "Python's audit hooks alone"


def answer_of(server):
    """The answer of a candidate of the fork server to JOB."""
    ((_, answer),) = judge.answers(server, [JOB], X, y, time.monotonic() + 60)
    return list(answer)


# ------------------------------------------------------------- the fork server
def test_a_group_of_zombies_which_macos_refuses_is_no_end_of_the_server(monkeypatch):
    refuse = "import os\ndef killpg(*_): raise PermissionError\nos.killpg = killpg\n"
    monkeypatch.setattr(judge, "SERVE", refuse + judge.SERVE)
    with judge.fork_server(DUMMY, 1, 2, 0.5) as server:
        assert answer_of(server) == BY_CHANCE
        assert answer_of(server) == BY_CHANCE


# XNU empties a socket in flight that its sender has closed, whenever any socket of the
# machine is freed: unp_gc in bsd/kern/uipc_usrreq.c.
def test_sockets_are_open_in_the_judge_until_the_server_has_them():
    control, theirs = socket.socketpair()
    server = judge.ForkServer(control, b"", 1, 2**30, False)
    deadline = time.monotonic() + 60
    start = threading.Thread(
        target=judge.start, args=(server, 0, "a job", np.arange(4), deadline)
    )
    start.start()
    start.join(0.5)
    assert start.is_alive()
    assert len(socket.recv_fds(theirs, 1, 2)[1]) == 2
    theirs.send(b"f")
    start.join(60)
    assert not start.is_alive()


@pytest.mark.parametrize(
    ("is_dead", "reason"), [(True, "was killed"), (False, "no answer within")]
)
def test_a_server_that_takes_no_sockets_is_a_crash_in_time(
    monkeypatch, is_dead, reason
):
    monkeypatch.setattr(judge, "KILL_S", 0.5)
    control, theirs = socket.socketpair()
    server = judge.ForkServer(control, b"", 1, 2**30, False)
    if is_dead:
        theirs.close()
    deadline = time.monotonic()
    with pytest.raises(Crash, match=reason):
        judge.start(server, 0, "a job", np.arange(4), deadline)
    server.kill_all()
    assert time.monotonic() - deadline < 3
    theirs.close()


def test_an_answer_of_the_server_that_comes_too_late_is_not_taken_for_the_next():
    control, theirs = socket.socketpair()
    server = judge.ForkServer(control, b"", 1, 2**30, False)
    with pytest.raises(Crash, match="no answer within"):
        judge.start(server, 0, "a job", np.arange(4), time.monotonic())
    # The late answer to the fork, then the one to the kill, then one to a second fork.
    theirs.send(b"fkf")
    server.kill_all()
    judge.start(server, 0, "a job", np.arange(4), time.monotonic() + 60)
    assert not select.select([control], [], [], 0)[0]
    theirs.close()


# What the sandbox would refuse, and each fit, before a candidate is forked. Fork is not
# safe on macOS once Accelerate, OpenMP or the network were used.
WATCH = """
import os, sys
sys.dont_write_bytecode = True
sys.path.append(sys.argv[1])
from harness import sandbox
server = os.getpid()
may_not = sandbox.audit_hook([*sandbox.readable_system(), sys.argv[1]])
def say(*words):
    os.write(2, (" ".join(map(str, words)) + "\\n").encode())
def watch_event(event, args):
    try:
        may_not(event, args)
    except PermissionError as error:
        if event != "os.fork" and os.getpid() == server:
            say(event, error)
def watch_call(frame, event, argument):
    if event == "call" and frame.f_code.co_name in ("fit", "fit_transform", "predict"):
        say(frame.f_code)
def before_fork():
    threads = "/proc/self/task"  # a link for each, besides its own two
    say("threads:", os.stat(threads).st_nlink - 2 if os.path.exists(threads) else 1)
os.register_at_fork(before=before_fork, after_in_child=lambda: sys.setprofile(None))
sys.addaudithook(watch_event)
sys.setprofile(watch_call)
"""


def test_before_the_fork_nothing_is_done_but_imports(monkeypatch, capfd):
    monkeypatch.setattr(judge, "SERVE", WATCH + judge.SERVE)
    with judge.fork_server(ALL_LIBRARIES.encode() + DUMMY, 1, 99, 0.5) as server:
        assert answer_of(server) == BY_CHANCE
    said = capfd.readouterr().err.splitlines()
    done = said[: said.index("threads: 1")]
    # The socket to the judge, which the server was given as its stdin.
    assert done == ["socket.__new__ train.py may not use the network"]


NEVER_FORK = """
import os, runpy, sys
sys.addaudithook(lambda event, _: event == "os.fork" and os._exit(9))
sys.argv[:] = ["prepare.py", *sys.argv[1:]]
runpy.run_path("prepare.py", run_name="__main__")
"""


@pytest.mark.parametrize("command", ["check", "evaluate", "review"])
def test_the_process_that_has_labels_never_forks(project, command):
    project.git("checkout", "-qb", "autoresearch/night")
    project.evaluate_and_log()
    words = [sys.executable, "-c", NEVER_FORK, command]
    environ = os.environ | IDENTITY
    done = subprocess.run(words, cwd=project.path, env=environ, capture_output=True)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------- OpenMP
def test_on_macos_candidates_have_one_thread(monkeypatch):
    for platform, n in [("darwin", "1"), ("linux", "4")]:
        monkeypatch.setattr(sys, "platform", platform)
        environ = judge.candidates_environment(1, 4)
        threads = {k: v for k, v in environ.items() if k.endswith("_THREADS")}
        assert set(threads.values()) == {n} and len(threads) >= 4
        assert environ["OMP_THREAD_LIMIT"] == n


# As dyld and ld.so word it, and XGBoost what may be missing.
ON_MACOS, ON_LINUX = "brew install libomp", "apt-get install libgomp1"
MISSING = [
    (r"Library not loaded: @rpath/libomp.dylib\n  Reason: tried", ON_MACOS),
    (r"not installed\n - libomp.dylib for Mac OSX\n - libgomp.so", ON_MACOS),
    ("libgomp.so.1: cannot open shared object", ON_LINUX),
]


@pytest.mark.parametrize(("fault", "cure"), MISSING)
def test_an_openmp_that_is_missing_is_told_with_its_cure(project, fault, cure):
    fault = f"dlopen(/Users/ada/{'folder/' * 60}): {fault}"
    block, _ = project.evaluate(f"{BASELINE}\nraise OSError('{fault}')\n")
    assert block["status"].endswith(f"can't be loaded: {cure})")
    assert cure in (ROOT / "README.md").read_text()


# ------------------------------------------------------------------- the files
ADA = "/System/Volumes/Data/Users/ada/autoresearch-edu/data/heart.csv"
OF_MACOS = [
    "/System/Library/CoreServices/SystemVersion.plist",
    "/var/db/timezone/tz/2026a.1.0/zoneinfo/Europe/Berlin",
    "/usr/share/zoneinfo.default/Europe/Berlin",
]


def test_of_macos_the_system_is_read_and_no_users_file():
    hook = sandbox.audit_hook(sandbox.readable_system())
    for path in OF_MACOS:
        hook("open", (path, "r", os.O_RDONLY))
    for path in (ADA, "/System/Library/../Volumes/Data", "/Library", "/Users/ada"):
        with pytest.raises(PermissionError, match="may not read"):
            hook("open", (path, "r", os.O_RDONLY))
        with pytest.raises(PermissionError, match="may not read"):
            hook("os.listdir", (path,))
    with pytest.raises(PermissionError, match="may not change"):
        hook("os.chflags", (ADA, 0))


# ------------------------------------------------------- which sandbox there is
@needs_seccomp
def test_without_landlock_and_seccomp_all_say_so_in_the_same_words(project):
    older = [sys.executable, f"{ROOT}/tests/older_kernel.py", "prepare.py"]
    options = {"cwd": project.path, "env": os.environ | IDENTITY}
    options |= {"capture_output": True, "text": True}
    evaluated = subprocess.run([*older, "evaluate"], **options)
    assert f"sandbox: {ALONE} (uv run prepare.py)\n" in evaluated.stderr
    assert "val_auc: 0.895971" in evaluated.stdout
    checked = subprocess.run([*older, "check"], **options)
    assert f"ok   sandbox: {ALONE}; the six libraries fit inside" in checked.stdout
    assert ALONE in " ".join((ROOT / "README.md").read_text().split())
