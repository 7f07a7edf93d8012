"""The programs that run another command, or take one apart: one row each.

Only the word that a wrapper really runs counts as a command (`timeout 9 grep bash ${…}` runs no bash), and it
is judged as if it stood there alone.
"""

from __future__ import annotations

from checkpointflow.shells.contexts import AS_ARGUMENT
from checkpointflow.shells.usages import Usage

_REMOTE = "the shell of the other machine reads it as code; send it over standard input"
_SETTING = "write the setting itself; ${raw:…} if code is meant"
_RUNS = "runs what it is given"
_DANGEROUS_FOR_GIT = (
    r"alias\.|pager\.|include|protocol\.|credential\.|.*(?:command|cmd|pager|editor|askpass|fsmonitor"
    r"|hookspath|proxy|helper|external|textconv|driver|clean|smudge|process|program|uploadpack|receivepack"
    r"|vcs)$"
)
_DANGEROUS_FOR_SSH = r".*command|proxyuse|include|match|pkcs11provider|securitykeyprovider|xauthlocation"


def _wrap(names: str, data: str = "", **more: object) -> Usage:
    return Usage(names, AS_ARGUMENT, "command", data=data, verdict=_RUNS, **more)  # type: ignore[arg-type]


def _read_code(names: str, code: str, data: str = "", **more: object) -> Usage:
    return Usage(names, AS_ARGUMENT, code=code, data=data, verdict=_RUNS, **more)  # type: ignore[arg-type]


_TMUX_VERBS = (
    "new-session new new-window neww split-window splitw respawn-pane respawnp respawn-window respawnw "
    "run-shell run if-shell if pipe-pane pipep display-popup popup display-message display "
    "confirm-before command-prompt send-keys send set-hook bind-key bind set-option set "
    "set-window-option setw rename-session rename rename-window renamew source-file source"
)
_TO_TMUX = "tmux types it into a shell, or expands #(…) in it; hand it over in a file"

_DOCKER = (
    "-i --interactive -t --tty -d --detach --rm --init --privileged --read-only -P --publish-all -q --quiet "
    "--no-healthcheck --oom-kill-disable --sig-proxy --no-deps --service-ports --use-aliases --build -T "
    "--no-TTY"
)

WRAPPERS: tuple[Usage, ...] = (
    _wrap("env", "-u --unset -C --chdir", code="-S --split-string", takes_assignments=True),
    _wrap(
        "sudo", "-u --user -g --group -h --host -p --prompt -C -r --role -t --type -T -U -D --chdir -R "
        "--chroot",
        takes_assignments=True, is_fed=True,
    ),
    _wrap("doas", "-u -C -a", is_fed=True),
    _wrap("nohup, busybox, toybox, unbuffer, caffeinate, rlwrap, catchsegv, proxychains, torsocks, "
        "dumb-init, tini, fakeroot, pkexec, chronic, dbus-run-session, ssh-agent, valgrind, prlimit, "
        "setsid, setarch, numactl"),
    _wrap("nice", "-n --adjustment"),
    _wrap("ionice", "-c --class -n --classdata"),
    _wrap("chrt, taskset", "-T -P -D", skips=1),
    _wrap("timeout, gtimeout", "-k --kill-after -s --signal", skips=1),
    _wrap("stdbuf, gstdbuf", "-i --input -o --output -e --error"),
    _wrap("time, gtime", "-f --format -o --output"),
    _wrap("chroot", "--groups --userspec", skips=1, is_fed=True),
    _wrap("nsenter", "-t --target -S --setuid -G --setgid", joined="-m -u -i -n -p -U -C -r -w", is_fed=True),
    _wrap("unshare", "-S -G -R -w", joined="-m -u -i -n -p -U -C", is_fed=True),
    _wrap("flock", "-w --timeout -E --conflict-exit-code", code="-c --command", skips=1),
    _wrap("strace, ltrace", "-e -o -p -s -u -E -a -b -I -O -P -S -X"),
    _wrap("gosu, su-exec, lxc exec, incus exec, multipass exec", skips=1),
    _wrap("setpriv", "--reuid --regid --groups --pdeathsig"),
    _wrap("systemd-run", "-u --unit -p --property -H --host -M --machine -E --setenv --uid --gid "
        "--working-directory"),
    _wrap("xvfb-run", "-e --error-file -f --auth-file -n --server-num -p -s --server-args -w --wait"),
    _wrap("xargs, gxargs", "-I -n -P -L -s -d -E -a --max-args --max-procs --delimiter --arg-file",
        joined="-i --replace -l -e"),
    _wrap("uv run, poetry run, pipenv run, pdm run, rye run, bundle exec, conda run, mise exec, npm "
        "exec, pnpm exec",
          "-n --name -p --python --with --project --env-file", code="-c --call"),
    _wrap("npx, bunx", "-p --package", code="-c --call"),
    Usage("uv, poetry, pipenv, pdm, rye, bundle, conda, mise, npm, pnpm, nix, lxc, incus, multipass, "
        "vagrant, fly, flyctl", AS_ARGUMENT, "verb"),
    Usage("docker, podman, nerdctl", AS_ARGUMENT, "verb", data="-H --host --context -l --log-level --config"),
    Usage("docker compose, podman compose, docker-compose, docker container, podman container", AS_ARGUMENT,
          "verb", data="-f --file -p --project-name --profile --env-file --project-directory"),
    _wrap("docker exec, podman exec, nerdctl exec, docker run, podman run, nerdctl run, docker compose exec, "
          "docker compose run, podman compose exec, podman compose run, docker-compose exec, "
          "docker-compose run, docker container exec, docker container run, podman container exec, "
          "podman container run", flags=_DOCKER, skips=1),
    Usage("kubectl, oc", AS_ARGUMENT, "verb", data="-n --namespace --context --kubeconfig --cluster "
        "--user -s --server"),
    _wrap("kubectl exec, oc exec", "-n --namespace -c --container -f --filename --context", skips=1,
        permutes=True),
    _read_code("vagrant ssh", "-c --command", "-p"),
    _read_code("nix-shell", "--run --command", "-p -I -A"),
    _read_code("su", "-c --command --session-command", "-g --group -G --supp-group -w -s --shell",
        skips=1, first="code",
               permutes=True, is_fed=True),
    _read_code("runuser", "-c --command --session-command", "-g --group -G --supp-group -w -s --shell "
        "-u --user", skips=1,
               first="code", permutes=True, is_fed=True),
    _read_code("script", "-c --command", "-o -t -T -I -O -B -E -m --log-io --log-out --log-in --log-timing",
               skips=1, first="code", permutes=True),
    _read_code("hyperfine", "-p --prepare -s --setup -c --cleanup -C --conclude -L --parameter-list",
        "-w --warmup -r --runs -m --min-runs -M --max-runs -S --shell -u --time-unit -n --command-name "
        "-P --parameter-scan -D --parameter-step-size --export-json --export-csv --export-markdown --input "
        "--output", first="code", permutes=True),
    _wrap("entr", code="-s"),
    _wrap("screen", "-S -c -e -h -p -s -t -T -x", ends="-X", tail_is_code=True),
    Usage("tmux", _TO_TMUX, "verb", code="-c", data="-f -L -S -T", verdict=_RUNS),
    Usage(", ".join(f"tmux {verb}" for verb in _TMUX_VERBS.split()), _TO_TMUX, "code",
        code="-c -e -F -n -s", data="-t -x -y", verdict=_RUNS),
    _read_code("watch", "", "-n --interval -q --equexit", first="code"),
    _read_code("parallel", "", "-j --jobs -P -S --sshlogin -a --arg-file -I -n -N --colsep --joblog "
        "--results --tmpdir",
               first="code", is_fed=True),
    _read_code("at, batch", "", "-q -t", files="-f", is_fed=True),
    _read_code("crontab", "", "-u", first="script", is_fed=True),
    Usage("ssh, autossh", _REMOTE, "remote", settings="-o", verdict=_RUNS, danger=_DANGEROUS_FOR_SSH, skips=1,
          loads="-F", data="-B -b -c -D -E -e -I -i -J -L -l -m -O -p -Q -R -S -W -w -M", is_fed=True),
    _wrap("sshpass", "-p -f -d -P"),
)  # fmt: skip

CALLERS: tuple[Usage, ...] = (
    Usage("scp, sftp", _SETTING, settings="-o", code="-S -D", data="-c -F -i -J -l -P -X -b -B -R -s",
          danger=_DANGEROUS_FOR_SSH, permutes=True, verdict=_RUNS),
    Usage("git config, git config set", _SETTING, "setting", danger=_DANGEROUS_FOR_GIT,
          data="-f --file --blob --type -t --default --comment --value --url", permutes=True),
    _read_code("git send-email", "--sendmail-cmd --smtp-server --to-cmd --cc-cmd --header-cmd",
               "--to --cc --bcc --from --subject --in-reply-to", permutes=True),
    Usage("git", _SETTING, "verb", settings="-c", data="-C --git-dir --work-tree --namespace",
        danger=_DANGEROUS_FOR_GIT, code="--exec-path"),
    _read_code("git rebase", "-x --exec", "-s -X -C --onto --strategy", permutes=True),
    _read_code("git fetch, git pull, git ls-remote", "--upload-pack", "-o -b --branch --depth "
               "-j --reference --origin --template", settings="-c --config", danger=_DANGEROUS_FOR_GIT,
               permutes=True),
    _read_code("git clone", "-u --upload-pack", "-o --origin -b --branch --depth -j --jobs --reference "
               "--template --filter --separate-git-dir", settings="-c --config",
               danger=_DANGEROUS_FOR_GIT, permutes=True),
    _read_code("git archive", "--exec", "-o --output --format --prefix --remote --add-file", permutes=True),
    _read_code("git grep", "", "-e -f -A -B -C -m --max-depth --threads", permutes=True,
               glued="-O --open-files-in-pager"),
    _read_code("git push", "--receive-pack --exec", "-o --push-option --repo", permutes=True),
    _read_code("git filter-branch", "--env-filter --tree-filter --index-filter --parent-filter --msg-filter "
               "--commit-filter --tag-name-filter"),
    _read_code("git difftool, git mergetool", "-x --extcmd", permutes=True),
    _read_code("git submodule foreach", "", first="code"),
    _wrap("git bisect run"),
    Usage("git bisect, git submodule", AS_ARGUMENT, "verb"),
    Usage("tar, gtar, bsdtar", _SETTING, permutes=True, bundles=True, verdict=_RUNS,
          code="--to-command --checkpoint-action -I --use-compress-program --rmt-command --rsh-command -F "
          "--info-script --new-volume-script",
          data="-f --file -C --directory -T --files-from -X --exclude-from --exclude -b --mode --owner "
              "--group "
          "--mtime --transform --xform -g --listed-incremental -N -L -V --strip-components"),
    _read_code("zip", "-TT --unzip-command", "-b --temp-path -i --include -x --exclude -n --suffixes -t -tt "
               "-P --password -s --split-size -O --output-file", permutes=True, is_wordy=True),
    _read_code("split, gsplit", "--filter", "-a --suffix-length -b --bytes -C --line-bytes -l --lines "
               "-n --number -t --separator --additional-suffix", permutes=True),
    _read_code("sort, gsort", "--compress-program", "-k --key -o --output -S --buffer-size -t "
               "--field-separator -T --temporary-directory --parallel --files0-from", permutes=True),
    Usage("socat", "write the address itself; to a host or a port with nc", "code", verdict=_RUNS,
          data="-L -W -lf -lp -b -t -T -r -R", is_wordy=True),
    Usage("rsync", _SETTING, permutes=True, verdict=_RUNS, code="-e --rsh --rsync-path",
          data="-f --filter --exclude --include --exclude-from --include-from --files-from -T --port -B -M "
          "--password-file --log-file --bwlimit --timeout --chmod --chown --partial-dir --backup-dir "
          "--suffix"),
)  # fmt: skip
"""Programs with an option that names a command to run."""
