"""A soak of `nurture serve`: mixed clients, disconnect storms and slow-loris connections at once, for some minutes.

  python3 bench/soak.py --binary target/release/nurture --model MODEL.gguf --minutes 60 [--adapter DIR] [--pace 10]

It starts the server itself, uses the standard library alone, and fails (exit code 1) when an honest request is lost, a health check
takes more than a second, the memory grows, or requests stay behind when all clients are gone. Figures go to stdout as JSON.

With an adapter, requests are spread over the base and two names of it, and one of these is replaced again and again while others
are answered. `--pace` makes clients rest so many seconds on average between two requests, and lets those who leave come in storms:
all at once, ten connections each, every half minute. `--curve` writes seconds, memory, processor seconds, threads and open files
to a file every ten seconds, as they are taken.
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
    def __init__(self, port, seconds, pace, names):
        self.port, self.begin, self.pace, self.names = port, time.monotonic(), pace, names
        self.end = self.begin + seconds
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

    def rest(self, seconds):
        time.sleep(max(0, min(seconds, self.end - time.monotonic())))

    def ask(self, path, body=None, timeout=660, method=None, key=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        head = {"Content-Type": "application/json"} if body is not None else {}
        head |= {"Authorization": "Bearer " + key} if key else {}
        method = method or ("GET" if body is None else "POST")
        connection.request(method, path, None if body is None else json.dumps(body), head)
        return connection, connection.getresponse()

    def honest(self, seed):
        """Whole and streamed chats, completions, labels and vectors, and the pages; 429 and 503 with Retry-After are honest answers
        too."""
        rng = random.Random(seed)
        while self.goes_on():
            if self.pace:
                self.rest(rng.expovariate(1 / self.pace))
            if rng.random() < 0.1:
                self.page(rng)
                continue
            model = rng.choice(self.names)
            text = " ".join(rng.choice(WORDS) for _ in range(rng.choice([3, 8, 40, 200])))
            kind = rng.choice(["chat", "stream", "completion", "classify", "embed", "tool", "anthropic", "responses"])
            chat = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": rng.choice([1, 8, 32])}
            tool = {"name": "find", "parameters": {"type": "object", "properties": {"word": {"enum": WORDS}}, "required": ["word"]}}
            path, body = {
                "chat": ("/v1/chat/completions", chat),
                "stream": ("/v1/chat/completions", chat | {"stream": True}),
                "completion": ("/v1/completions", {"model": model, "prompt": text, "max_tokens": 8}),
                "classify": ("/v1/classify", {"model": model, "labels": WORDS[:5], "input": text}),
                "embed": ("/v1/embeddings", {"model": model, "input": [text, "x"]}),
                "tool": ("/v1/chat/completions", chat | {
                    "max_tokens": 64, "tools": [{"type": "function", "function": tool}], "tool_choice": "required",
                    "parallel_tool_calls": False}),
                "anthropic": ("/v1/messages", chat | {"stream": True}),
                "responses": ("/v1/responses", {"model": model, "input": text, "max_output_tokens": 8}),
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

    def page(self, rng):
        """A question on the chat page, the conversation read again, a mark, and every second time its end."""
        try:
            body = {"text": "Say " + rng.choice(WORDS), "models": self.names[:2], "settings": {"max_tokens": 8}}
            connection, response = self.ask("/page/ask", body)
            told = response.read().decode()
            connection.close()
            if response.status in (429, 503) and response.getheader("Retry-After"):
                return self.count("told to wait")
            found = re.search(r"/c/c-[0-9a-f]+", told)
            if response.status != 200 or not found or "event: end" not in told:
                return self.lose(f"page: {response.status} {told[:200]!r}")
            place = found[0]
            for path, method in [(place, "GET"), ("/page/history?q=say", "GET"), ("/page" + place, "DELETE")]:
                if method == "DELETE" and rng.random() < 0.5:
                    continue
                connection, response = self.ask(path, method=method)
                response.read()
                connection.close()
                if response.status != 200:
                    return self.lose(f"page {path}: {response.status}")
            self.count("page")
        except OSError as e:
            self.lose(f"page: {e!r}")

    def renew(self, folder, key):
        """Replaces the second adapter while it is being used."""
        while self.goes_on():
            self.rest(20 if self.pace else 5)
            try:
                connection, response = self.ask("/admin/adapters", {"name": self.names[-1], "path": folder}, key=key)
                told = response.read()
                connection.close()
                if response.status // 100 != 2:
                    self.lose(f"adapter: {response.status} {told[:200]!r}")
                self.count("adapter replaced")
            except OSError as e:
                self.lose(f"adapter: {e!r}")

    def leaver(self, seed):
        """Asks for much and goes away, in any phase."""
        rng, left = random.Random(seed), 0
        while self.goes_on():
            if self.pace and left % 10 == 0:
                self.rest(30 - (time.monotonic() - self.begin) % 30)
            left += 1
            text = " ".join(rng.choice(WORDS) for _ in range(rng.choice([5, 600])))
            body = {"model": rng.choice(self.names), "messages": [{"role": "user", "content": text}], "max_tokens": 400, "stream": True}
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
            if not self.pace:
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

    def watch(self, pid, memory, curve):
        """Health and memory, twice a second."""
        due = 0
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
            since = time.monotonic() - self.begin
            if curve and since >= due:
                due += 10
                with open(f"/proc/{pid}/stat") as f:
                    parts = f.read().rsplit(")", 1)[1].split()
                seconds = (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")
                print(round(since), round(memory[-1], 1), round(seconds, 1), parts[17], len(os.listdir(f"/proc/{pid}/fd")),
                      sum(self.counts.values()), len(self.lost), file=curve, flush=True)
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
    parser.add_argument("--pace", type=float, default=0, help="mean rest in seconds of an honest client between two requests")
    parser.add_argument("--adapter", help="folder of an adapter")
    parser.add_argument("--curve", help="file for seconds, MB, processor seconds, threads, open files, answers, lost: every 10 s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        log = open(os.path.join(home, "log"), "w+")
        command = [args.binary, "serve", "--model", args.model, "--name", "base", "--port", "0", "--context", "2048", "--lang", "en"]
        names, key = ["base"], "soak-admin"
        if args.adapter:
            names += ["deep", "renewed"]
            command += [word for name in names[1:] for word in ("--adapter", f"{name}={args.adapter}")]
        # an administrator's key alone leaves the API open on this machine
        server = subprocess.Popen(command, stderr=log, env=os.environ | {"NURTURE_HOME": home, "NURTURE_ADMIN_KEY": key})
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
            soak, memory = Soak(port, args.minutes * 60, args.pace, names), []
            jobs = [(soak.honest, args.honest), (soak.leaver, args.leavers), (soak.loris, args.lorises)]
            threads = [threading.Thread(target=f, args=(i,)) for f, n in jobs for i in range(n)]
            curve = open(args.curve, "w") if args.curve else None
            threads.append(threading.Thread(target=soak.watch, args=(server.pid, memory, curve)))
            if args.adapter:
                threads.append(threading.Thread(target=soak.renew, args=(args.adapter, key)))
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
