"""A stand-in for the model, on loopback: the real client really does what it says.

`Model(reply)` serves the Messages API. reply(n, request) makes the n-th answer of the
main conversation: {"text": .., "tools": [(name, input), ..], "http": status, "hang":
seconds}, all optional, or None when there is nothing more to say.
"""

import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Model(ThreadingHTTPServer):
    """Answers until closed; keeps the requests of the main conversation."""

    daemon_threads = True

    def __init__(self, reply):
        super().__init__(("127.0.0.1", 0), Conversation)
        self.reply, self.requests, self.lock = reply, [], threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer(self, request):
        """The scripted answer; side requests (titles, summaries) get a word."""
        if not any(tool.get("name") == "Bash" for tool in request.get("tools") or []):
            return {"text": "ok"}
        with self.lock:
            self.requests.append(request)
            n = len(self.requests) - 1
        return self.reply(n, request) or {"text": "SCRIPT OVER"}

    def received(self):
        """All that the tools, the hooks and the user told the model, as one string."""
        return "\n".join(text for _, text in results(self.requests[-1])) + "\n".join(
            text for text in words_of_user(self.requests[-1])
        )

    def handle_error(self, request, client_address):
        """A client that hangs up (we kill some) is no error."""


class Conversation(BaseHTTPRequestHandler):
    """The part of the Messages API that the client uses."""

    server: Model
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Say nothing."""

    def send(self, status, body, kind="application/json"):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        self.send(404, error("not_found_error"))

    do_HEAD = do_GET

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "count_tokens" in self.path:
            return self.send(200, {"input_tokens": 1000})
        answer = self.server.answer(request)
        time.sleep(answer.get("hang", 0))
        if "http" in answer:
            return self.send(answer["http"], error("overloaded_error"))
        message = message_of(answer, request)
        if request.get("stream"):
            return self.send(200, events(message), "text/event-stream")
        return self.send(200, message)


def error(kind):
    """An error body of the API."""
    return {"type": "error", "error": {"type": kind, "message": "scripted"}}


def message_of(answer, request):
    """The API's message for a scripted answer."""
    content = [{"type": "text", "text": answer["text"]}] if "text" in answer else []
    for name, given in answer.get("tools", []):
        call = {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:24]}"}
        content.append({**call, "name": name, "input": given})
    return {
        "id": f"msg_{uuid.uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": request.get("model", "scripted"),
        "content": content,
        "stop_reason": "tool_use" if answer.get("tools") else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1000, "output_tokens": 20},
    }


def events(message):
    """The message as a stream of server-sent events."""
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    stream = [("message_start", {"message": {**message, "content": []}})]
    for index, block in enumerate(message["content"]):
        start, delta = {**block, "text": ""}, {"type": "text_delta"}
        if block["type"] == "text":
            delta["text"] = block["text"]
        else:
            start = {**block, "input": {}}
            delta = {"type": "input_json_delta"}
            delta["partial_json"] = json.dumps(block["input"])
        stream += [
            ("content_block_start", {"index": index, "content_block": start}),
            ("content_block_delta", {"index": index, "delta": delta}),
            ("content_block_stop", {"index": index}),
        ]
    stream += [("message_delta", {"delta": stop, "usage": message["usage"]})]
    stream += [("message_stop", {})]
    lines = [f"event: {k}\ndata: {json.dumps({'type': k, **v})}\n\n" for k, v in stream]
    return "".join(lines).encode()


def blocks(request, kind):
    """The content blocks of a kind in a request's conversation, in order."""
    for message in request["messages"]:
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content, "role": message["role"]}]
        yield from (b for b in content if b.get("type") == kind)


def results(request):
    """[(refused or failed, what the tool said)] of the conversation, in order."""
    said = []
    for block in blocks(request, "tool_result"):
        content = block.get("content") or ""
        if isinstance(content, list):
            content = "\n".join(part.get("text", "") for part in content)
        said.append((bool(block.get("is_error")), content))
    return said


def words_of_user(request):
    """Every text of the conversation that is no tool's."""
    return [block["text"] for block in blocks(request, "text")]
