#!/usr/bin/env python3
"""Stands in for the llama-server binary in llama-server's own tests: starts $SUITE_BINARY with the options that it has too, and
with $SUITE_MODEL, because the tests' models are downloads. Options that only one of the two has are left out."""
import os
import sys

VALUE = {"--port", "--host", "--alias", "--ctx-size", "--parallel", "--api-key", "--batch-size", "--threads", "--lora",
         "--chat-template", "--chat-template-file", "--cors-origins", "-ctk", "-ctv", "-fa", "--temp", "--seed", "--n-predict"}
VALUE_LEFT_OUT = {"--hf-repo", "--hf-file", "--model", "--model-url", "--model-draft", "--tags",
                  "--ubatch-size", "--n-gpu-layers", "--pooling", "--slot-save-path", "--grp-attn-n", "--grp-attn-w", "--reasoning-format",
                  "--reasoning", "--mmproj-url", "--media-path", "--sleep-idle-seconds", "--cache-ram", "--models-dir", "--models-max",
                  "--models-preset", "--spec-type", "--spec-draft-n-max", "--spec-draft-n-min", "--spec-synth-len", "--spec-synth-rates",
                  "--tools", "--tools-runtime", "--mcp-servers-config", "--mcp-servers-json"}


def value_of(name, arguments):
    """The option's value. There each slot has its part of --ctx-size, here one request may use all of it; and a step here takes at
    least a block."""
    value = arguments[arguments.index(name) + 1]
    if name == "--ctx-size" and "--parallel" in arguments and "--kv-unified" not in arguments:
        return str(int(value) // int(arguments[arguments.index("--parallel") + 1]))
    return str(max(int(value), 32)) if name == "--batch-size" else value


def options_of_tensorcache(arguments):
    kept = ["serve", os.environ["SUITE_MODEL"], "--memory", "256MiB", "--disk", "off", "--log-level", "warning"]
    i = 0
    while i < len(arguments):
        name = arguments[i]
        if name in VALUE:
            kept += [name, value_of(name, arguments)]
        i += 2 if name in VALUE or name in VALUE_LEFT_OUT else 1
    return kept


def options_of_llama_server(arguments):
    kept = ["--model", os.environ["SUITE_MODEL"]]
    i = 0
    while i < len(arguments):
        if arguments[i] in ("--hf-repo", "--hf-file", "--model"):
            i += 2
            continue
        if arguments[i] != "--offline":
            kept.append(arguments[i])
        i += 1
    return kept


binary = os.environ["SUITE_BINARY"]
options = options_of_llama_server if os.environ.get("SUITE_IS_LLAMA_SERVER") else options_of_tensorcache
os.execv(binary, [binary, *options(sys.argv[1:])])
