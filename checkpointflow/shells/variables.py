"""Environment variables that are code: commands that programs run, and options that bring code in.

A row is what to write instead, and for which variables. Those that say where programs or libraries lie
(`PATH`, `PYTHONPATH`) are none of them. `ENV` and `PROMPT`, whose names are everyday words, are read by
interactive shells alone: they are code where a command starts one, and elsewhere `ENV` holds no expansion.
"""

from __future__ import annotations

_ROWS = {
    "give the variable another name": "BASH_ENV ZDOTDIR PROMPT_COMMAND PS0 PS1 PS2 PS3 PS4",
    'write all of its text yourself; what it runs can read the value from another variable, as "$x"': (
        "EDITOR VISUAL FCEDIT PAGER BROWSER SHELL GIT_EDITOR GIT_SEQUENCE_EDITOR GIT_PAGER GIT_SSH "
        "GIT_SSH_COMMAND GIT_PROXY_COMMAND GIT_ASKPASS GIT_EXTERNAL_DIFF GIT_CONFIG_PARAMETERS "
        "GIT_CONFIG_KEY SSH_ASKPASS SUDO_ASKPASS SUDO_EDITOR KUBE_EDITOR KUBECTL_EXTERNAL_DIFF AWS_PAGER "
        "GH_PAGER GH_EDITOR MANPAGER SYSTEMD_PAGER SYSTEMD_EDITOR PSQL_PAGER PSQL_EDITOR PSQLRC HGEDITOR "
        "SVN_EDITOR SVN_SSH CVS_RSH RSYNC_RSH RSYNC_CONNECT_PROG RUSTC_WRAPPER BORG_RSH BORG_PASSCOMMAND "
        "RESTIC_PASSWORD_COMMAND FZF_DEFAULT_COMMAND LESSOPEN LESSCLOSE PYTHONBREAKPOINT PERL5DB LUA_INIT "
        "VIMINIT GVIMINIT EXINIT PYTHONSTARTUP R_PROFILE R_PROFILE_USER LD_PRELOAD LD_AUDIT "
        "DYLD_INSERT_LIBRARIES"
    ),
    "give the program its options on its command line, with the value as the argument of one": (
        "MAKEFLAGS GNUMAKEFLAGS NODE_OPTIONS PERL5OPT RUBYOPT JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS "
        "_JAVA_OPTIONS GOFLAGS RUSTFLAGS TAR_OPTIONS ZIPOPT LESS ERL_FLAGS ERL_AFLAGS ERL_ZFLAGS "
        "ELIXIR_ERL_OPTIONS FZF_DEFAULT_OPTS"
    ),
}


HINTS = {name: hint for hint, names in _ROWS.items() for name in names.split()}
_NUMBERED = ("GIT_CONFIG_KEY", "LUA_INIT")  # GIT_CONFIG_KEY_0, LUA_INIT_5_4


BY_INTERACTIVE_SHELLS = (
    *("ENV", "MAILPATH", "PROMPT", "PROMPT2", "PROMPT3", "PROMPT4"),
    *("RPROMPT", "RPROMPT2", "RPS1", "RPS2", "SPROMPT"),
)
INTERACTIVE = (
    "an interactive shell runs what it holds",
    "start it without -i, or give the variable another name",
)
EXPANSIONS = "$`"
NO_EXPANSIONS = "interactive shells expand it, so give the variable another name where it may hold these"


def judge_variable(name: str) -> tuple[str, str] | None:
    """Why no value can be in the variable *name*, and what to write instead; None if one can."""
    plain = name.rstrip("_0123456789")
    if name.startswith("BASH_FUNC_"):
        return "bash takes it for a function", "write the function itself"
    hint = HINTS.get(plain if plain in _NUMBERED else name)
    return (f"what {name} holds is run as code", hint) if hint else None
