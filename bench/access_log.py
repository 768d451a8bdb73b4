#!/usr/bin/env python3
"""What a line for each request costs: cached answers a second with the access log and without, and nginx's own ratio beside it. ./dev bench access-log."""
import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

BODY = json.dumps({"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0, "max_tokens": 16})
NGINX = """worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; daemon off;
events {{}}
http {{
  access_log {log};
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000000; location / {{ default_type application/json; return 200 '{answer}'; }} }}
}}
"""


@contextlib.contextmanager
def running(command, **options):
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def until_up(url, limit_s=120):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(url, timeout=5).read()
        time.sleep(0.05)
    sys.exit(f"{url} did not answer within {limit_s} s")


def answers_per_second(url, script, seconds):
    out = subprocess.run(["wrk", "-t1", "-c16", f"-d{seconds}s", "-s", script, url + "/v1/chat/completions"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out:
        sys.exit("not every reply was an answer:\n" + out)
    return float(re.search(r"Requests/sec:\s+(\S+)", out).group(1))


def ours(arguments, folder, level, port, script):
    command = [arguments.binary, "serve", arguments.model, "--port", str(port), "-c", "2048", "-np", "1", "--disk", "off", "--log-level", level]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TENSORCACHE_")}
    with open(folder / f"log-{level}", "a", encoding="utf-8") as log, running(command, stderr=log, env=environment):
        url = f"http://127.0.0.1:{port}"
        until_up(url + "/health")
        request = urllib.request.Request(url + "/v1/chat/completions", BODY.encode(), {"Content-Type": "application/json"})
        answer = urllib.request.urlopen(request, timeout=120).read()
        return answers_per_second(url, script, arguments.seconds), answer


def nginx(arguments, folder, log, port, script, answer):
    text = NGINX.format(folder=folder, log=log, port=port, answer=answer.decode().replace("'", "\\'"))
    config = folder / "nginx.conf"
    config.write_text(text)
    with running([shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(config), "-e", str(folder / "error.log")]):
        url = f"http://127.0.0.1:{port}"
        until_up(url + "/")
        return answers_per_second(url, script, arguments.seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="access-log-") as name:
        folder = Path(name)
        script = str(folder / "post.lua")
        Path(script).write_text(f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [[{BODY}]]\n")
        ratios = {"ours": [], "nginx": []}
        for run in range(arguments.runs):
            rates = {}
            for level in ("info", "warning") if run % 2 else ("warning", "info"):   # neither is always the first
                rates[level], answer = ours(arguments, folder, level, 18080 + run % 2, script)
            logs = [str(folder / "access.log"), "off"]
            for log in logs if run % 2 else reversed(logs):
                rates[log] = nginx(arguments, folder, log, 18082 + run % 2, script, answer)
            with_log, without, nginx_with, nginx_without = rates["info"], rates["warning"], rates[logs[0]], rates["off"]
            ratios["ours"].append(with_log / without)
            ratios["nginx"].append(nginx_with / nginx_without)
            print(f"run {run + 1}: ours {with_log:8.0f} with, {without:8.0f} without; nginx {nginx_with:8.0f} with, {nginx_without:8.0f} without", flush=True)
        for server, values in ratios.items():
            print(f"{server:6} answers a second with the log : without it, median {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    main()
