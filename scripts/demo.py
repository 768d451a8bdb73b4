#!/usr/bin/env python3
"""Serves a model with TensorCache, asks it a few things to show what the cache does, kills it in between, and says what to try."""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOAD_LIMIT_S, ANSWER_LIMIT_S = 300, 300
DOCUMENT_CHARACTERS = 4500   # of the licence: some 1,000 tokens, seconds of reading for a small machine


def say(text=""):
    print(text, flush=True)


def wait_until_ready(process, log_path):
    """The server's URL, once it serves."""
    deadline = time.monotonic() + LOAD_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"the server ended:\n{log_path.read_text()}")
        listening = re.search(r"listening on (http://\S+)", log_path.read_text())
        if listening:
            return listening.group(1)
        time.sleep(0.05)
    sys.exit(f"the server was not ready after {LOAD_LIMIT_S} s:\n{log_path.read_text()}")


def ask(url, question):
    """Seconds, usage, Cache-Status and the answer."""
    document = (ROOT / "LICENSE").read_text()[:DOCUMENT_CHARACTERS]
    body = {"messages": [{"role": "system", "content": "Answer from this document:\n" + document}, {"role": "user", "content": question}],
            "temperature": 0, "max_tokens": 24}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    begin = time.monotonic()
    with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_S) as reply:
        answer = json.load(reply)
    return time.monotonic() - begin, answer["usage"], reply.headers["Cache-Status"], answer["choices"][0]["message"]["content"]


FIRST, SECOND, THIRD = "What is a Contributor?", "What does Licensor mean?", "What is a Derivative Work?"


def show(url, questions):
    """Asks, and prints a line for each; returns what came."""
    rows = []
    for name, question in questions:
        seconds, usage, status, text = ask(url, question)
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        say(f"  {name:34}{seconds:9.3f}{usage['prompt_tokens']:15}{usage['prompt_tokens'] - cached:10}   {status}")
        rows.append((cached, status, text, usage["prompt_tokens"]))
    return rows


def show_before_the_kill(url):
    say("Questions about a document of about a thousand tokens:\n")
    say(f"  {'':34}{'seconds':>9}{'prompt tokens':>15}{'computed':>10}   Cache-Status")
    cold, again, other = show(url, [("a question, nothing cached", FIRST), ("the same question again", FIRST),
                                    ("another question, same document", SECOND)])
    helped = cold[0] == 0 and "hit" in again[1] and again[2] == cold[2] and other[0] > 0.8 * other[3]
    return helped, cold[2]


def show_after_the_kill(url, first_answer):
    again, other = show(url, [("killed, started; the first again", FIRST), ("... a third, same document", THIRD)])
    say()
    return "hit" in again[1] and again[2] == first_answer and other[0] > 0.8 * other[3]


def wait_until_written(url):
    """What was stored goes to disk behind the answers; a moment later a kill takes nothing."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with urllib.request.urlopen(url + "/metrics", timeout=10) as reply:
            figures = dict(re.findall(r"^(tensorcache_disk_queued_bytes|tensorcache_engine_running) (\S+)$", reply.read().decode(), re.MULTILINE))
        if not any(float(figure) for figure in figures.values()):
            return
        time.sleep(0.05)


def what_to_try(url, name):
    question = '{"messages":[{"role":"user","content":"What is the capital of France? Answer in one sentence."}],"temperature":0,"max_tokens":64}'
    say(f"""Serving {name} on {url}. Try, in another terminal (twice; -i shows Cache-Status, which says why it was fast):

  curl -i {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{question}'

or with OpenAI's Python client (pip install openai):

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="none")
  for turn in "computed", "from the cache":
      reply = client.chat.completions.with_raw_response.create(model="{name}", temperature=0, max_tokens=64,
          messages=[{{"role": "user", "content": "What is the capital of France? Answer in one sentence."}}])
      print(turn, reply.headers["Cache-Status"], reply.parse().choices[0].message.content)

What is stored: curl {url}/cache     Figures: curl {url}/metrics     Stop: Ctrl-C""")


def die_with_parent():
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)   # PR_SET_PDEATHSIG


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", default="8080")
    parser.add_argument("--once", action="store_true", help="end after the questions; fails if the cache did not help")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="tensorcache-demo-") as folder:
        log_path = Path(folder) / "log"
        command = [arguments.binary, "serve", "--model", arguments.model, "--port", arguments.port, "--cache-dir", folder + "/store"]
        say("$ " + " ".join(command) + "\n")

        def start():
            with open(log_path, "w") as log:
                # Settings of the user's own would show another server than the one described here.
                environment = {name: value for name, value in os.environ.items() if not name.startswith("TENSORCACHE_")}
                return subprocess.Popen(command, stderr=log, env=environment, preexec_fn=die_with_parent)

        process = start()
        try:
            url = wait_until_ready(process, log_path)
            helped, first_answer = show_before_the_kill(url)
            wait_until_written(url)
            process.kill()
            process.wait()
            process = start()
            url = wait_until_ready(process, log_path)
            helped = show_after_the_kill(url, first_answer) and helped
            with urllib.request.urlopen(url + "/v1/models", timeout=10) as reply:
                name = json.load(reply)["data"][0]["id"]
            if arguments.once:
                return 0 if helped else 1
            what_to_try(url, name)
            return process.wait()
        except KeyboardInterrupt:
            say("\nstopping")
            return 0
        finally:
            process.terminate()
            process.wait(timeout=60)


if __name__ == "__main__":
    sys.exit(main())
