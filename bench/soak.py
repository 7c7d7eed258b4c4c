"""A soak of `nurture serve`: mixed clients, disconnect storms and slow-loris connections at once, for some minutes.

  python3 bench/soak.py --binary target/release/nurture --model MODEL.gguf --minutes 60

It starts the server itself, uses the standard library alone, and fails (exit code 1) when an honest request is lost, a health check
takes more than a second, the memory grows, or requests stay behind when all clients are gone. Figures go to stdout as JSON.
"""

import argparse
import http.client
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

WORDS = "lamp river copper winter doctor seven music border paper engine silver garden letter window".split()


class Soak:
    def __init__(self, port, seconds):
        self.port, self.end = port, time.monotonic() + seconds
        self.lock, self.counts, self.lost = threading.Lock(), {}, []
        self.health, self.first = [], []

    def count(self, name):
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + 1

    def goes_on(self):
        return time.monotonic() < self.end

    def lose(self, what):
        with self.lock:
            self.lost.append(what)

    def ask(self, path, body, timeout=180):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return connection, connection.getresponse()

    def honest(self, seed):
        """Whole and streamed chats, completions, labels and vectors; 429 and 503 with Retry-After are honest answers too."""
        rng = random.Random(seed)
        while self.goes_on():
            text = " ".join(rng.choice(WORDS) for _ in range(rng.choice([3, 8, 40, 200])))
            kind = rng.choice(["chat", "stream", "completion", "classify", "embed", "tool", "anthropic", "responses"])
            chat = {"model": "base", "messages": [{"role": "user", "content": text}], "max_tokens": rng.choice([1, 8, 32])}
            tool = {"name": "find", "parameters": {"type": "object", "properties": {"word": {"enum": WORDS}}, "required": ["word"]}}
            path, body = {
                "chat": ("/v1/chat/completions", chat),
                "stream": ("/v1/chat/completions", chat | {"stream": True}),
                "completion": ("/v1/completions", {"model": "base", "prompt": text, "max_tokens": 8}),
                "classify": ("/v1/classify", {"model": "base", "labels": WORDS[:5], "input": text}),
                "embed": ("/v1/embeddings", {"model": "base", "input": [text, "x"]}),
                "tool": ("/v1/chat/completions", chat | {
                    "max_tokens": 64, "tools": [{"type": "function", "function": tool}], "tool_choice": "required",
                    "parallel_tool_calls": False}),
                "anthropic": ("/v1/messages", chat | {"stream": True}),
                "responses": ("/v1/responses", {"model": "base", "input": text, "max_output_tokens": 8}),
            }[kind]
            try:
                begin = time.monotonic()
                connection, response = self.ask(path, body)
                head = response.read(1) if response.status == 200 else b""
                if kind == "stream" and head:
                    self.first.append(time.monotonic() - begin)
                rest = head + response.read()
                connection.close()
            except OSError as e:
                self.lose(f"{kind}: {e!r}")
                continue
            if response.status in (429, 503) and response.getheader("Retry-After"):
                self.count("told to wait")
                time.sleep(0.5)
            elif response.status != 200:
                self.lose(f"{kind}: {response.status} {rest[:200]!r}")
            elif kind == "stream" and not rest.rstrip().endswith(b"[DONE]"):
                self.lose(f"{kind}: the stream broke off")
            elif kind == "anthropic" and b"message_stop" not in rest:
                self.lose(f"{kind}: the stream broke off")
            elif kind == "tool" and json.loads(rest)["choices"][0]["finish_reason"] != "tool_calls":
                self.lose(f"{kind}: {rest[:300]!r}")
            else:
                self.count(kind)

    def leaver(self, seed):
        """Asks for much and goes away, in any phase."""
        rng = random.Random(seed)
        while self.goes_on():
            text = " ".join(rng.choice(WORDS) for _ in range(rng.choice([5, 600])))
            body = {"model": "base", "messages": [{"role": "user", "content": text}], "max_tokens": 400, "stream": True}
            data = json.dumps(body).encode()
            try:
                s = socket.create_connection(("127.0.0.1", self.port), timeout=20)
                s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                          + f"Content-Length: {len(data)}\r\n\r\n".encode() + data[: rng.choice([len(data), len(data) // 2])])
                time.sleep(rng.choice([0, 0.02, 0.2, 1]))
                if rng.random() < 0.5:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not a good-bye
                s.close()
                self.count("left")
            except OSError:
                pass
            time.sleep(rng.random() / 4)

    def loris(self, seed):
        """Sends a head a byte at a time, or garbage, or nothing."""
        rng = random.Random(seed)
        while self.goes_on():
            try:
                s = socket.create_connection(("127.0.0.1", self.port), timeout=20)
                kind = rng.choice(["slow", "silent", "garbage"])
                if kind == "garbage":
                    s.sendall(rng.randbytes(rng.choice([10, 5000])))
                for byte in b"GET /v1/models HTTP/1.1\r\nX-Slow: ":
                    if kind != "slow" or not self.goes_on():
                        break
                    s.sendall(bytes([byte]))
                    time.sleep(0.5)
                time.sleep(rng.random() * 2)
                s.close()
                self.count("loris")
            except OSError:
                pass

    def watch(self, pid, memory):
        """Health and memory, twice a second."""
        while self.goes_on():
            begin = time.monotonic()
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
                connection.request("GET", "/health/live")
                if connection.getresponse().status != 200:
                    self.lose("health")
                connection.close()
                self.health.append(time.monotonic() - begin)
            except OSError as e:
                self.lose(f"health: {e!r}")
            memory.append(resident(pid))
            time.sleep(0.5)


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]) / 1024


def metric(port, name):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    return float(re.search(rf"^{name} (\S+)$", page, re.M)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--honest", type=int, default=6)
    parser.add_argument("--leavers", type=int, default=4)
    parser.add_argument("--lorises", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        log = open(os.path.join(home, "log"), "w+")
        command = [args.binary, "serve", "--model", args.model, "--name", "base", "--port", "0", "--context", "2048", "--lang", "en"]
        server = subprocess.Popen(command, stderr=log, env=os.environ | {"NURTURE_HOME": home})
        try:
            port = None
            for _ in range(600):
                time.sleep(0.1)
                found = re.search(r" at http://127.0.0.1:(\d+)", open(log.name).read())
                if found:
                    port = int(found[1])
                    break
                if server.poll() is not None:
                    sys.exit("the server did not start: " + open(log.name).read())
            soak, memory = Soak(port, args.minutes * 60), []
            jobs = [(soak.honest, args.honest), (soak.leaver, args.leavers), (soak.loris, args.lorises)]
            threads = [threading.Thread(target=f, args=(i,)) for f, n in jobs for i in range(n)]
            threads.append(threading.Thread(target=soak.watch, args=(server.pid, memory)))
            [t.start() for t in threads]
            [t.join() for t in threads]
            time.sleep(2)
            left = metric(port, "nurture_running") + metric(port, "nurture_waiting")
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
        finally:
            server.kill()
        quarter = max(1, len(memory) // 4)
        early, late = max(memory[quarter: 2 * quarter] or memory), max(memory[-quarter:])
        wrong = list(soak.lost[:10])
        wrong += [f"{left} requests stayed behind"] if left else []
        wrong += [f"exit code {code}"] if code else []
        # honest growth ends: caches are full after the first half
        wrong += [f"memory grew from {early:.0f} to {late:.0f} MB"] if late > early * 1.1 + 20 else []
        slow = sorted(soak.health)[int(len(soak.health) * 0.99)] if soak.health else 0
        wrong += [f"health took {slow:.2f} s (99 %)"] if slow > 1 else []
        print(json.dumps({
            "minutes": args.minutes, "answers": soak.counts, "lost": len(soak.lost), "memory_mb": [round(early), round(late)],
            "health_p99_ms": round(slow * 1e3, 1), "health_max_ms": round(max(soak.health) * 1e3, 1),
            "first_byte_median_s": round(statistics.median(soak.first), 2) if soak.first else None, "wrong": wrong,
        }, indent=1))
        sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
