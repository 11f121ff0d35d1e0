#!/usr/bin/env python3
"""Uses the page as a reader does, and keeps what it looks like: page.py CHROMIUM URL PICTURE FOLDER

PICTURE is a file to drop. Screenshots go to FOLDER. Ends with an error where something is not as it should be.
"""
import itertools
import json
import pathlib
import sys

from chromium import Chromium

# Centre and size of all pictures of the map, the one in the middle first.
DISCS = "[...document.querySelectorAll('.map li')].map(i => { const b = i.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2, b.width] })"
LINKS = "[...document.querySelectorAll('#results a[data-id]')]"


def check(truth, message):
    if not truth:
        raise AssertionError(message)


def main():
    program, url, picture, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
    folder.mkdir(parents=True, exist_ok=True)
    with Chromium(program) as browser:
        for step in (begins_with_random_pictures, drop_click_and_back, the_map, keyboard, states_and_errors):
            browser.window(1400, 900)
            step(browser, url, picture, folder)
        looks(browser, url, folder)
        nothing_from_outside(browser, url)
    print("the page works")


def begins_with_random_pictures(browser, url, picture, folder):
    browser.open(f"{url}/")
    browser.until(f"{LINKS}.length > 3")
    check("Drop a picture" in browser.run("document.querySelector('#query').innerText"), "the page says how to begin")
    browser.screenshot(folder / "random.png")
    first = browser.run(f"{LINKS}.map(l => l.dataset.id).join()")
    browser.click("#random")
    browser.until(f"{LINKS}.length > 3 && {LINKS}.map(l => l.dataset.id).join() !== {json.dumps(first)}")
    browser.run("history.back()")
    browser.until(f"{LINKS}.map(l => l.dataset.id).join() === {json.dumps(first)}")


def drop_click_and_back(browser, url, picture, folder):
    browser.open(f"{url}/")
    browser.until(f"{LINKS}.length > 3")
    browser.drop("#query", picture)
    browser.until("document.querySelector('#query strong').innerText === 'Your picture'")
    # The picture itself is among those that are searched.
    nearest = browser.run(f"{LINKS}[0].dataset.id")
    check(nearest == picture.name, f"{picture.name} is the nearest to itself, not {nearest}")
    distances = browser.run(f"{LINKS}.map(l => Number(l.dataset.distance))")
    check(len(distances) > 3 and distances == sorted(distances), f"nearest first: {distances}")
    check(distances[0] == 0, f"the picture itself is at 0: {distances}")
    browser.screenshot(folder / "dropped.png")
    # A hover shows it large.
    second = browser.run(f"{LINKS}[1].dataset.id")
    browser.point("#results li:nth-child(2) a")
    browser.until(f"document.querySelector('#preview img')?.src.endsWith('/object/' + {json.dumps(second)})")
    width = browser.run("document.querySelector('#preview img').clientWidth")
    check(width > 250, f"{width} pixels are not large")
    browser.screenshot(folder / "pointed.png")
    # A click makes it the next query, with an address that can be shared.
    browser.click("#results li:nth-child(2) a")
    browser.until(f"new URLSearchParams(location.search).get('id') === {json.dumps(second)}")
    browser.until(f"document.querySelector('#query .id').innerText === {json.dumps(second)}")
    check(browser.run("document.querySelector('#query img').alt").endswith(second), "the query has a text")
    browser.until(f"{LINKS}.length > 3 && {LINKS}.every(l => l.dataset.id !== {json.dumps(second)})")
    # Back to the picture that was dropped, which is not sent again.
    browser.events.clear()
    browser.run("history.back()")
    browser.until("document.querySelector('#query strong').innerText === 'Your picture'")
    browser.until(f"{LINKS}[0].dataset.id === {json.dumps(nearest)}")
    posts = [event for event in browser.events if event.get("params", {}).get("request", {}).get("method") == "POST"]
    check(not posts, f"going back asks nothing: {posts}")


def the_map(browser, url, picture, folder):
    browser.open(f"{url}/?id={picture.name}")
    browser.until(f"{LINKS}.length > 3")
    count = browser.run(f"{LINKS}.length")
    browser.click("[data-view=map]")
    browser.until("document.querySelectorAll('.map li').length > 3")
    check("view=map" in browser.run("location.search"), "the view is in the address")
    for width, height in ((1400, 900), (390, 844)):
        browser.window(width, height)
        browser.until(f"document.querySelector('.map').dataset.drawn?.startsWith(document.querySelector('.map').clientWidth + 'x')")
        discs = browser.run(DISCS)
        check(width < 1000 or len(discs) == count + 1, f"{len(discs)} of {count} and the query are shown")
        check(len(discs) > 8, f"{len(discs)} are shown at a width of {width}")
        for (x, y, size), (other_x, other_y, other_size) in itertools.combinations(discs, 2):
            apart = ((x - other_x) ** 2 + (y - other_y) ** 2) ** 0.5
            check(apart >= (size + other_size) / 2 - 0.5, f"two cover each other at a width of {width}: {apart}")
        box = browser.run("(b => [b.left, b.top, b.right, b.bottom])(document.querySelector('.map').getBoundingClientRect())")
        for x, y, size in discs:
            inside = box[0] <= x - size / 2 and x + size / 2 <= box[2] and box[1] <= y - size / 2 and y + size / 2 <= box[3]
            check(inside, f"one stands out at a width of {width}")
        # The middle is the query; further away is never nearer to it.
        middle, radii = discs[0], []
        for x, y, _ in discs[1:]:
            radii.append(round(((x - middle[0]) ** 2 + (y - middle[1]) ** 2) ** 0.5))
        check(radii == sorted(radii), f"by distance: {radii}")
    browser.run("history.back()")
    browser.until("document.querySelector('.grid') !== null")


def keyboard(browser, url, picture, folder):
    browser.open(f"{url}/?id={picture.name}")
    browser.until(f"{LINKS}.length > 3")
    browser.key("Tab", 9)
    browser.run(f"{LINKS}[0].focus()")
    browser.key("ArrowRight", 39)
    second = browser.run(f"{LINKS}[1].dataset.id")
    browser.until(f"document.activeElement.dataset.id === {json.dumps(second)}")
    browser.until(f"document.querySelector('#preview .id').innerText === {json.dumps(second)}")
    check(browser.run(f"{LINKS}.every(l => l.querySelector('img').alt)"), "every picture has a text")


def states_and_errors(browser, url, picture, folder):
    browser.open(f"{url}/?id=no-such-object.jpg")
    browser.until("document.querySelector('.message h2')?.innerText === 'There is no such picture'")
    browser.screenshot(folder / "missing.png")
    text = folder / "text.jpg"
    text.write_text("this is no picture")
    browser.drop("#query", text)
    browser.until("document.querySelector('.message')?.innerText.includes('not a picture')")
    text.unlink()
    # The page stays as it is while it fills: the boxes have their sizes before the pictures come.
    browser.call("Network.setCacheDisabled", cacheDisabled=True)
    browser.open(f"{url}/?id={picture.name}")
    browser.run(
        "window.shift = 0; new PerformanceObserver(list => list.getEntries().forEach(e => window.shift += e.value))"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    browser.until(f"{LINKS}.length > 3 && [...document.images].some(i => i.complete)")
    shift = browser.run("new Promise(done => requestAnimationFrame(() => setTimeout(() => done(window.shift), 200)))")
    check(shift < 0.02, f"the page jumps: {shift}")
    browser.call("Network.setCacheDisabled", cacheDisabled=False)


def looks(browser, url, folder):
    """Both views, wide and narrow, light and dark, for people."""
    browser.window(1400, 900)
    browser.open(f"{url}/")
    browser.until(f"{LINKS}.length > 3")
    id = browser.run(f"{LINKS}[0].dataset.id")
    for view, (name, width, height), dark in itertools.product(
        ("grid", "map"), (("wide", 1400, 900), ("narrow", 390, 844)), (False, True)
    ):
        browser.window(width, height, dark)
        browser.open(f"{url}/?id={id}&view={view}")
        browser.until(f"{LINKS}.length > 3")
        browser.screenshot(folder / f"{view}-{name}-{'dark' if dark else 'light'}.png")
        scrolls = browser.run("document.documentElement.scrollWidth > innerWidth")
        check(not scrolls, f"the page is wider than a {name} window")


def nothing_from_outside(browser, url):
    """Of all that happened: requests went to the server alone, and nothing was refused or failed in the page."""
    for event in browser.events:
        parameters = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            asked = parameters["request"]["url"]
            check(asked.startswith((url, "data:", "blob:", "about:")), f"the page asks {asked}")
        check(event["method"] != "Runtime.exceptionThrown", f"the page fails: {parameters}")
        if event["method"] == "Log.entryAdded":
            entry = parameters["entry"]
            check(entry["level"] != "error" or entry["source"] == "network", f"the page complains: {entry}")


main()
