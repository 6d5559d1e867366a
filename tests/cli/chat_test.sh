#!/usr/bin/env bash
# fathom chat on a terminal, and what signals do. Usage: chat_test.sh PATH_TO_FATHOM
. "$(dirname "$0")/common.sh"
set_up
ok "$fathom" init --model config.json --out model --tokenizer tokenizer
command -v python3 >/dev/null || report

# A process on a terminal of its own: what it shows until a text, and how it ends.
cat >terminal.py <<'PYTHON'
import os, pty, select, signal, sys, time

fathom, mode = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(LC_ALL="C", TERM="xterm")  # a locale without UTF-8
    os.execv(fathom, [fathom, "chat", "--model", "model", "--max-new-tokens", "100"])


def until(text, seconds=60):
    shown, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.05)[0]:
            shown += os.read(terminal, 65536)
        if text in shown:
            return
    sys.exit(f"no {text} in {shown}")


until(b"> ")
if mode == "type":
    os.write(terminal, "h\u00e9llo \u4f60\r".encode())
    until(b"\n> ")
    os.write(terminal, b"/save talk.json\r")
    until(b"saved")
    os.write(terminal, b"/save\r")
    until(b"needs the name")
    os.write(terminal, b"/quit\r")
else:
    os.kill(pid, signal.SIGTERM)
end = time.monotonic() + 30
while time.monotonic() < end:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        sys.exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.05)
os.kill(pid, signal.SIGKILL)
sys.exit("does not end")
PYTHON

python3 terminal.py "$fathom" type 2>err || fail "chat on a terminal: $(cat err)"
grep -q '"content": "héllo 你"' talk.json || fail "what was typed arrives as $(cat talk.json)"
python3 terminal.py "$fathom" terminate 2>err
[ $? -eq 143 ] || fail "SIGTERM at the prompt: $(cat err)"

# A signal between two tensors: nothing half-written stays. One that comes before is as good.
for seconds in 0.05 0.2 0.5; do
  timeout --preserve-status -s INT $seconds "$fathom" init --model deepseek-v2-lite --out large 2>err
  [ $? -eq 130 ] || fail "SIGINT during init: $(cat err)"
  ls -d large* 2>err && fail "SIGINT during init leaves $(ls -d large*)"
done

report
