#!/bin/sh
# `nurture serve` and `llama-server` one after the other on the same file: 1, 8 and 32 streaming chat clients, then two traces.
#   sh bench/serve_beside.sh MODEL.gguf LLAMA_SERVER AZURE_CONV.csv MOONCAKE.jsonl [NURTURE]
# Both get two threads and 16,384 tokens of keys and values for all clients. One JSON object a line, and the memory of each server
# at its most (VmHWM), once after the clients and once after the traces. About five minutes; worth something only on a machine with
# nothing else to do. llama-server comes with the sources inside the sdist of llama-cpp-python (vendor/llama.cpp):
#   cmake -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_UI=OFF && cmake --build build --target llama-server
set -eu
model=$1 llama=$2 azure=$3 mooncake=$4 nurture=${5:-target/release/nurture}
here=$(dirname "$0") port=18090 url=http://127.0.0.1:18090/v1

clients() {
  for n in 1 8 32; do
    printf '%s ' "$name"
    python3 "$here/peers/serve_clients.py" "$url" base --clients "$n" --rounds $((n == 1 ? 6 : 2)) --tokens 64
  done
}
replay() {
  printf '%s ' "$name"
  python3 "$here/trace_replay.py" "$1" --url "$url" --model base --rate "$2" --seconds 30 --scale 0.25 --slo-first 2 --slo-token 0.1 | tr -d '\n'
  echo
}
measure() {
  name=$1
  shift
  "$@" >/dev/null 2>&1 &
  pid=$!
  until curl -sf "http://127.0.0.1:$port/health" >/dev/null || curl -sf "http://127.0.0.1:$port/health/live" >/dev/null; do
    kill -0 "$pid" && sleep 0.2
  done
  clients
  grep VmHWM "/proc/$pid/status"
  replay "$azure" 2
  replay "$mooncake" 0.4
  grep VmHWM "/proc/$pid/status"
  kill "$pid"
  wait "$pid" || true
}
measure nurture "$nurture" serve --model "$model" --name base --port "$port" --no-store --threads 2 --cache-tokens 16384
measure llama-server "$llama" -m "$model" --port "$port" -t 2 -np 32 -c 16384 -kvu
