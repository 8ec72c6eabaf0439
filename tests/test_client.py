"""A night in the real client: /autoresearch with a scripted model on loopback."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

import pytest
from conftest import IDENTITY, ROOT, Project
from scripted_model import Model, results, words_of_user

from harness.ratchet import FROZEN

CLIENTS = os.environ.get("CLAUDE_CLIENTS", shutil.which("claude") or "").split(":")
HOW = (
    "no Claude Code client: npm install --prefix DIR @anthropic-ai/claude-code@2.1.332 "
    "and set CLAUDE_CLIENTS=DIR/node_modules/.bin/claude"
)
pytestmark = pytest.mark.skipif(CLIENTS == [""] or not shutil.which("uv"), reason=HOW)

EVALUATE = (
    "uv run prepare.py evaluate >| run.log 2>&1; "
    'grep "^val_auc:\\|^wall_time_s:\\|^status:" run.log'
)
LOG = "uv run prepare.py log"
COMMIT = 'git commit --no-gpg-sign --no-verify -qm "{}" train.py && '
STATUS_LINE = "trial·iter0·start0.8960·$0.00"  # as drawn, spaces left out
C_OF = "LogisticRegression(max_iter=1000{})"
IDEAS = {  # hypothesis: what LogisticRegression gets, and what becomes of it
    "stronger penalty": (", C=0.05", "keep"),
    "far too strong penalty": (", C=0.00001", "discard"),
    "no such option": (", c=1", "crash"),
}


def test_the_commands_scripted_here_are_those_of_program_md():
    text = (ROOT / "program.md").read_text()
    assert f"{COMMIT.format('<reason>')}{EVALUATE}\n" in text
    assert f"   {LOG}\n" in text


# ------------------------------------------------------------------ the night
class Night:
    """A project whose folder has all a client session needs, and the sessions."""

    def __init__(self, path, client):
        self.project, self.client = Project(path / "project"), client
        self.path, self.home = self.project.path, path / "home"
        self.home.mkdir()
        # A user's own setting of uv that would have the lock written anew.
        (self.home / ".config" / "uv").mkdir(parents=True)
        (self.home / ".config" / "uv" / "uv.toml").write_text(
            'exclude-newer = "7 days"\n'
        )
        (self.path / ".venv").symlink_to(sys.prefix)
        self.train = (self.path / "train.py").read_text()

    def begin(self):
        """Begin the run, as if its baseline had been evaluated."""
        self.project.git("checkout", "-qb", "autoresearch/trial")
        self.project.pretend_and_log("0.895971")

    def environ(self, model):
        """A clean environment: no credentials, nothing but loopback."""
        keep = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        quiet = ["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY"]
        quiet += ["DISABLE_AUTOUPDATER", "UV_OFFLINE"]
        return {
            **keep,
            **IDENTITY,
            **dict.fromkeys(quiet, "1"),
            "HOME": str(self.home),
            "TERM": "xterm-256color",
            "ANTHROPIC_API_KEY": "sk-ant-dummy",
            "ANTHROPIC_BASE_URL": model.url,
        }

    def start(self, model, words="/autoresearch trial", **options):
        """A running `claude -p` in the project, with no permission granted to it."""
        return subprocess.Popen(
            [self.client, "-p", words],
            cwd=self.path,
            env=self.environ(model),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **options,
        )

    def sleep(self, reply, words="/autoresearch trial", timeout=240):
        """A whole session with this script; returns the model with what it got."""
        with Model(reply) as model:
            process = self.start(model, words)
            try:
                process.communicate(timeout=timeout)
            finally:
                end(process)
        return model

    def rows(self):
        """The rows of results.tsv as lists of cells."""
        results = self.path / "results.tsv"
        lines = results.read_text().splitlines() if results.exists() else []
        return [line.split("\t") for line in lines[1:]]

    def edit(self, old, new):
        """A call of Edit on train.py."""
        given = {"file_path": str(self.path / "train.py")}
        return ("Edit", {**given, "old_string": old, "new_string": new})

    def write(self, text):
        """A call of Write on train.py."""
        return ("Write", {"file_path": str(self.path / "train.py"), "content": text})

    def idea(self, name):
        """The source of train.py for one of IDEAS."""
        option = IDEAS[name][0]
        text = self.train.replace(C_OF.format(""), C_OF.format(option))
        return re.sub("HYPOTHESIS = .*", f'HYPOTHESIS = "{name}"', text)


@pytest.fixture(params=CLIENTS, ids=[f"client {i}" for i in range(len(CLIENTS))])
def night(request, tmp_path):
    """A night for each of the clients, before its run has begun."""
    return Night(tmp_path, request.param)


@pytest.fixture
def begun(tmp_path):
    """A night whose run has begun, for what does not depend on the client's version."""
    night = Night(tmp_path, CLIENTS[0])
    night.begin()
    return night


def end(process):
    """Kill a client and all it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def bash(command, **more):
    """A call of Bash."""
    return ("Bash", {"command": command, "description": "a step", **more})


def play(steps):
    """A script that makes these calls (or texts), one an answer."""

    def reply(n, request):
        step = steps[n] if n < len(steps) else None
        if isinstance(step, tuple):
            return {"tools": [step]}
        return {"text": step} if isinstance(step, str) else step

    return reply


def setup(night):
    """The Setup of program.md, the baseline included."""
    return [
        bash("git status --short"),
        bash("git checkout -b autoresearch/trial"),
        ("Read", {"file_path": str(night.path / "train.py")}),
        bash("uv run prepare.py"),
        bash(EVALUATE),
        bash("uv run prepare.py log"),
    ]


def iteration(night, name):
    """The three calls of an iteration, and the word to the user."""
    commit = COMMIT.format(name)
    return [night.write(night.idea(name)), bash(commit + EVALUATE), bash(LOG)]


# ------------------------------------------------------------------ promises
def test_a_night_needs_no_permission_and_little_context(night):
    steps = setup(night)
    for name in IDEAS:
        steps += iteration(night, name)
    model = night.sleep(play([*steps, "HALT: end of the script"]))
    said = results(model.requests[-1])
    assert [text for refused, text in said if refused] == []
    assert [(row[5].split(" [")[0], row[4]) for row in night.rows()[1:]] == [
        (name, status) for name, (_, status) in IDEAS.items()
    ]
    subjects = night.project.git("log", "--format=%s", "trunk..").splitlines()
    assert subjects == [n for n, (_, s) in reversed(IDEAS.items()) if s == "keep"]
    sizes = [len(text) for _, text in said[6:]]
    assert max(sum(sizes[i : i + 3]) for i in range(0, len(sizes), 3)) <= 1500
    secrets = [cell for row in night.rows() for cell in row[2:3] if cell]
    told = model.received()
    assert "test_auc: 0" not in told
    assert not [secret for secret in secrets if secret in told]


# The gate's own tests have many more: here is one for each way into the client.
ATTACKS = [
    *("rm prepare.py", "echo x >> program.md", "git checkout trunk"),
    *("cat results.tsv", "uv run prepare.py state & rm prepare.py", "sleep 1000"),
    "cat > prepare.py <<EOF\nx\nEOF",
]


def test_frozen_files_stay_frozen_and_results_unread_whatever_is_tried(night):
    night.begin()
    calls = [bash(command) for command in ATTACKS]
    for name in ("prepare.py", ".claude/settings.json"):
        path = {"file_path": str(night.path / name)}
        calls.append(("Write", {**path, "content": "x"}))
        calls.append(("Edit", {**path, "old_string": "a", "new_string": "b"}))
    for name in ("results.tsv", "data/heart.csv", ".git/config"):
        calls.append(("Read", {"file_path": str(night.path / name)}))
    before = contents(night.path)
    model = night.sleep(play([*calls, "HALT: end of the script"]))
    assert contents(night.path) == before
    said = results(model.requests[-1])
    assert [refused for refused, _ in said] == [True] * len(calls)
    # Each has a reason.
    assert all(len(text) > 20 for _, text in said)


def contents(path):
    """Every byte and mode of the frozen files."""
    files = [f for name in FROZEN for f in [path / name, *(path / name).rglob("*")]]
    files = [f for f in files if f.is_file() and f.parent.name != "__pycache__"]
    return {f: (f.read_bytes(), f.stat().st_mode) for f in files}


# ------------------------------------------------------------- how it ends
def turns_of(night, steps, **options):
    """How many answers the model had to give to a script."""
    return len(night.sleep(play(steps), **options).requests)


def test_the_loop_goes_on_until_it_is_told_to_halt(begun):
    steps = ["Shall I go on?", "I am done.", "HALT: the harness broke"]
    assert turns_of(begun, [*steps, "never asked for"]) == len(steps)


def test_a_limit_that_is_typed_ends_the_loop(begun):
    begun.project.next_idea(1)
    begun.project.pretend_and_log("0.5")
    words = "/autoresearch trial 1"
    assert turns_of(begun, ["The end.", "never asked for"], words=words) == 1


def test_an_ordinary_chat_is_never_trapped(begun):
    assert turns_of(begun, ["Hello!", "never asked for"], words="hello") == 1


def test_an_overloaded_model_is_waited_for(begun):
    steps = [*[{"http": 529}] * 4, bash("git status"), "HALT: enough"]
    assert turns_of(begun, steps) == len(steps)


def test_the_same_refused_call_again_and_again_ends_the_night(begun):
    assert turns_of(begun, [*[bash("make coffee")] * 5, "never asked for"]) == 5


def test_a_tag_with_odd_characters_is_refused_and_those_permitted_are_named(begun):
    steps = ["HALT: no such tag"]
    model = begun.sleep(play(steps), words="/autoresearch my/run 25")
    assert "letters, digits" in model.received()


def test_a_resumed_session_is_told_that_its_rules_are_gone(begun):
    begun.sleep(play(["HALT: enough"]))
    with Model(play(["Please type /autoresearch trial."])) as model:
        client = [begun.client, "--continue", "-p", "go on"]
        environ = begun.environ(model)
        subprocess.run(client, cwd=begun.path, env=environ, timeout=120)
    assert "type /autoresearch trial" in model.received()


def test_a_client_started_in_a_subfolder_says_where_to_start_it(begun):
    with Model(play([bash("git status"), "So be it.", "never asked for"])) as model:
        client = [begun.client, "-p", "/autoresearch trial"]
        environ = begun.environ(model)
        subprocess.run(client, cwd=begun.path / "data", env=environ, timeout=120)
    assert len(model.requests) == 2
    assert "in the folder of prepare.py" in model.received()


def test_a_broken_interpreter_refuses_every_call(begun):
    (begun.path / ".claude" / "hooks" / "hooks.py").write_text("no Python")
    steps = [
        bash("touch free"),
        bash("git status"),
        begun.write("x"),
        "HALT: no gate",
    ]
    model = begun.sleep(play(steps))
    assert [refused for refused, _ in results(model.requests[-1])] == [True] * 3
    assert not (begun.path / "free").exists()


# ---------------------------------------------------------------- resuming
class Researcher:
    """Follows program.md by rule, a step a call: does what `next:` says.

    It remembers nothing from one session to the next but what the files tell.
    """

    def __init__(self, night, ideas, calls=None):
        self.night, self.ideas, self.calls = night, ideas, calls
        self.exhausted = threading.Event()  # the session has made its calls

    def __call__(self, n, request):
        if n == self.calls:
            self.exhausted.set()
            return {"hang": 60}
        step = self.step(n, (results(request) or [(False, "")])[-1][1])
        return {"text": step} if isinstance(step, str) else {"tools": [step]}

    def step(self, n, said):
        if n == 0:
            exists = self.night.project.git("branch", "--list", "autoresearch/trial")
            flag = "" if exists else "-b "
            return bash(f"git checkout {flag}autoresearch/trial")
        if found := re.search("^next: (.*)", said, re.MULTILINE):
            return self.next_step(found[1])
        if said.startswith("The file "):
            return bash(f'git commit -qm "{self.idea()}" train.py')
        if "status: " in said:
            return bash(LOG)
        return bash("uv run prepare.py state")

    def next_step(self, word):
        if word.startswith("run"):
            return bash(EVALUATE)
        if word.startswith("log"):
            return bash(LOG)
        if word.startswith("propose") and self.idea():
            return self.night.write(self.night.idea(self.idea()))
        return f"HALT: {word}"

    def idea(self):
        """The first idea that results.tsv does not know."""
        known = {row[5].split(" [")[0] for row in self.night.rows()}
        return next((idea for idea in self.ideas if idea not in known), None)


def test_a_night_killed_after_every_step_is_the_same_night(tmp_path):
    night = Night(tmp_path, CLIENTS[0])
    notes = night.path / "notes.txt"
    notes.write_text("mine")
    night.project.git("add", "notes.txt")
    night.project.git("commit", "-qm", "notes")
    notes.write_text("mine, not committed")
    night.begin()
    ideas = list(IDEAS)[:2]
    for session in range(20):  # 3 calls: checkout, state, and one of the loop's; or 4
        researcher = Researcher(night, ideas, calls=3 + session % 2)
        with Model(researcher) as model:
            process = night.start(model)
            while process.poll() is None and not researcher.exhausted.wait(0.1):
                pass
            over = process.poll() is not None
            end(process)
        if over:
            break
    told = [(row[5].split(" [")[0], row[4]) for row in night.rows()[1:]]
    assert told == [(idea, IDEAS[idea][1]) for idea in ideas]
    assert night.project.git("log", "--format=%s", "trunk..") == "stronger penalty"
    assert notes.read_text() == "mine, not committed"


# ------------------------------------------------------------- interactive
class Terminal:
    """The interactive client on a terminal, in a folder that the user trusts."""

    def __init__(self, night, model):
        trusted = {"hasTrustDialogAccepted": True}
        settings = {
            "hasCompletedOnboarding": True,
            "projects": {str(night.path): trusted},
            "customApiKeyResponses": {"approved": ["sk-ant-dummy"]},
        }
        (night.home / ".claude.json").write_text(json.dumps(settings))
        self.screen, environ = b"", night.environ(model)
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(night.path)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 50, 150, 0, 0))
            os.execve(night.client, [night.client], environ)

    def wait(self, done, seconds=90):
        """Read the screen until done(); False if that never comes."""
        end_at = time.monotonic() + seconds
        while not done() and time.monotonic() < end_at:
            if select.select([self.fd], [], [], 0.2)[0]:
                self.screen += os.read(self.fd, 65536)
        return done()

    def text(self):
        """What was written, without escape codes and spaces."""
        return re.sub(rb"\x1b\[[0-9;?<>]*[A-Za-z]|\s", b"", self.screen).decode(
            errors="replace"
        )

    def type(self, words):
        """Type words, then Enter."""
        os.write(self.fd, words.encode())
        self.wait(lambda: False, 1)
        os.write(self.fd, b"\r")

    def close(self):
        """Kill the client."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def test_the_interactive_client_asks_nothing_and_shows_the_status(night):
    night.begin()
    steps = [("Read", {"file_path": str(night.path / "train.py")})]
    steps += [*iteration(night, "stronger penalty"), bash("rm prepare.py")]
    with Model(play([*steps, {"hang": 7, "text": "HALT: enough"}])) as model:
        terminal = Terminal(night, model)
        try:
            assert terminal.wait(lambda: STATUS_LINE in terminal.text(), 20)
            terminal.type("/autoresearch trial")
            assert terminal.wait(lambda: len(model.requests) == len(steps) + 1)
        finally:
            terminal.close()
    refused = [refused for refused, _ in results(model.requests[-1])]
    assert refused == [False] * (len(steps) - 1) + [True]


def test_after_a_compaction_the_loop_knows_where_it_stands(begun):
    where = "the loop goes on. autoresearch/trial · iter 0"

    def told():
        return any(where in text for r in model.requests for text in words_of_user(r))

    with Model(play(["HALT: or a summary"] * 9)) as model:
        terminal = Terminal(begun, model)
        try:
            terminal.wait(lambda: "modeon" in terminal.text(), 20)
            terminal.type("/autoresearch trial")
            assert terminal.wait(lambda: len(model.requests) == 1)
            terminal.wait(lambda: False, 2)
            assert not told()
            terminal.type("/compact")
            terminal.wait(lambda: "Compacted" in terminal.text(), 30)
            terminal.type("go on")
            assert terminal.wait(told, 30)
        finally:
            terminal.close()
