"""A headless Chromium, driven through its DevTools protocol: lines of JSON over two pipes, so that nothing else is needed."""
import base64
import json
import os
import subprocess
import tempfile
import time

PATIENCE = 60
REQUEST = "Network.requestWillBeSent"
# The keys that are pressed, and their numbers.
KEYS = {"Tab": 9, "Enter": 13, "ArrowRight": 39, "ArrowDown": 40, "1": 49, "2": 50, "j": 74, "k": 75, "n": 78}


class Chromium:
    """One page of one browser, with a profile of its own."""

    def __init__(self, program):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        ours, theirs = os.pipe(), os.pipe()
        # What Chromium reads is its descriptor 3, and what it writes 4; both are above 4 here until they are put in place.
        take, give = (os.dup2(descriptor, at) for descriptor, at in ((ours[0], 30), (theirs[1], 31)))
        command = (
            f'exec "$0" "$@" 3<&{take} 4>&{give}',
            program,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            f"--user-data-dir={self.profile.name}",
            "--remote-debugging-pipe",
            "about:blank",
        )
        self.process = subprocess.Popen(
            ["bash", "-c", *command], pass_fds=(take, give), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for descriptor in (ours[0], theirs[1], take, give):
            os.close(descriptor)
        self.writer, self.reader = os.fdopen(ours[1], "wb"), theirs[0]
        self.buffer, self.number, self.session = b"", 0, None
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.profile.cleanup()

    def call(self, method, **parameters):
        """Calls a method of the protocol; what happens meanwhile is added to `events`."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.writer.write(json.dumps(message).encode() + b"\0")
        self.writer.flush()
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise LibraryError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def receive(self):
        while b"\0" not in self.buffer:
            more = os.read(self.reader, 1 << 20)
            if not more:
                raise LibraryError("Chromium has ended")
            self.buffer += more
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def run(self, script):
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise LibraryError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def requests(self, since=0):
        """Method and address of what the page has asked for, from an event on."""
        requests = [event["params"]["request"] for event in self.events[since:] if event["method"] == REQUEST]
        return [(request["method"], request["url"]) for request in requests]

    def complaints(self):
        """What failed in the page, or was refused there; that a server answers with an error is no such thing."""
        found = []
        for event in self.events:
            parameters = event.get("params", {})
            entry = parameters.get("entry", {})
            thrown = event["method"] == "Runtime.exceptionThrown"
            told = event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert")
            refused = entry.get("level") == "error" and entry["source"] != "network"
            if thrown or told or refused:
                found.append(event)
        return found

    def until(self, script):
        """Waits until an expression is true."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.run(script):
                return
            time.sleep(0.05)
        raise AssertionError(f"never came true: {script}\n{self.run('document.body.innerText')}")

    def wait(self, is_true, what):
        """Waits for something outside the page."""
        end = time.monotonic() + PATIENCE
        while not is_true():
            if time.monotonic() > end:
                raise AssertionError(f"never came true: {what}")
            time.sleep(0.05)

    def event(self, method, since):
        """Waits for an event, and gives what came with it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            # What has happened comes before the answer.
            self.run("true")
            for event in self.events[since:]:
                if event["method"] == method:
                    return event["params"]
            time.sleep(0.05)
        raise AssertionError(f"never happened: {method}")

    def open(self, url):
        # The address that is open already would be loaded again, with the state that the page keeps in the history.
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.until(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def window(self, width, height, dark=False, touch=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def middle(self, selector):
        box = self.run(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2] })()"
        )
        return {"x": box[0], "y": box[1]}

    def point(self, selector):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **self.middle(selector))

    def click(self, selector):
        where = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    def key(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def choose(self, selector, file):
        """Clicks on what opens the dialog for files, and chooses one there."""
        self.call("Page.setInterceptFileChooserDialog", enabled=True)
        since = len(self.events)
        self.click(selector)
        opened = self.event("Page.fileChooserOpened", since)
        self.call("DOM.setFileInputFiles", files=[str(file)], backendNodeId=opened["backendNodeId"])
        self.call("Page.setInterceptFileChooserDialog", enabled=False)

    def paste(self, address):
        """Pastes a picture that is at an address, as from the clipboard."""
        self.run(
            "(async () => {"
            f" const picture = await (await fetch({json.dumps(address)})).blob();"
            " const clipboardData = new DataTransfer();"
            " clipboardData.items.add(new File([picture], 'pasted.jpg', { type: picture.type }));"
            " document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }));"
            "})()"
        )

    def drop(self, selector, file):
        """Drags a file from outside onto an element, and lets go of it there."""
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, data=data, **self.middle(selector))

    def screenshot(self, path):
        """What is seen, once all pictures in sight are there."""
        self.until(
            "[...document.images].every(i => i.complete || i.loading === 'lazy' && "
            "(i.getBoundingClientRect().top > innerHeight || i.getBoundingClientRect().bottom < 0))"
        )
        shot = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))
