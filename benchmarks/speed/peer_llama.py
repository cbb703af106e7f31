"""llama.cpp's side of decoding at batch 1: `python peer_llama.py decode1 TASK.json`. The times are those that it takes itself."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

import xllamacpp
from turns import Turns


def main(task: dict[str, Any], turns: Turns) -> None:
    """Greedy answers to one prompt, a server inside this process."""
    params = xllamacpp.CommonParams()
    params.model.path = task["gguf"]
    params.no_extra_bufts = True  # its AMX buffers crash on some processors
    params.n_ctx, params.n_parallel, params.use_jinja = 1024, 1, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
    server = xllamacpp.Server(params)
    new = task["sizes"]["new"]
    prompt = json.loads(Path(task["data"]).read_text())["fixed"][0]
    body = {"prompt": prompt, "n_predict": new, "temperature": 0.0, "top_k": 1, "cache_prompt": False, "ignore_eos": True}

    def work(number: int) -> dict[str, Any]:
        request = urllib.request.Request(server.listening_address + "/completion", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            timings = json.load(reply)["timings"]
        assert timings["predicted_n"] == new
        return {"seconds": timings["predicted_ms"] / 1e3, "prefill": timings["prompt_ms"] / 1e3, "tokens": new}

    turns.rounds(task["rounds"], work)
    turns.end(weights=Path(task["gguf"]).stat().st_size)
    sys.stdout.flush()
    os._exit(0)  # the server's threads would keep the process


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[2]).read_text()), Turns())
