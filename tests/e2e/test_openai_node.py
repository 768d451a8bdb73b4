"""OpenAI's own Node client, unmodified."""
import subprocess
from pathlib import Path

from conftest import clean_environment


def test_node_client(server):
    script = Path(__file__).parent / "node" / "client.mjs"
    done = subprocess.run(["node", script], env=clean_environment(BASE_URL=server.url + "/v1"), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "ok\n", done.stdout + done.stderr
