#!/usr/bin/env python3
"""Uses the pages as a reader does, and keeps what they look like: page.py CHROMIUM FOLDER SCENE ARGUMENTS

Screenshots go to FOLDER. Ends with an error where something is not as it should be. The scenes, and their arguments:

works URL PICTURE             a server with the pictures that `browser.rs` writes, one of which is the file PICTURE
without-uploads URL PICTURE   a server of two pictures that takes none from outside; PICTURE is a file to drop
below URL                     a server of some pictures at this address, which has a path
filters URL PICTURE           a server of more pictures than the page asks for, in the folders a and b/c and of three shapes, one of which
                              is the file PICTURE
groups URL AXE                a server whose features make four groups up to 0.2, of 2, 3, 2 and 2 pictures, and that takes decisions; AXE is the
                              file of axe-core, or empty
accessible URL AXE ID         a server with an object ID; AXE is the file of axe-core
token URL TOKEN               a server of some pictures that wants this token
elsewhere URL ID              a server of some pictures, one of which is the object ID
words URL                     a server of three pictures of a colour each, whose model knows the words
fills URL FROM TO             a server without features, until the directory FROM is moved to TO
file PATH                     a page of `simsearch search --html`
"""
import csv
import http.server
import itertools
import json
import os
import pathlib
import re
import shutil
import sys
import threading

from chromium import Chromium

# Centre and size of all pictures of the map, the one in the middle first.
DISCS = "[...document.querySelectorAll('.map li')].map(i => { const b = i.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2, b.width] })"
LINKS = "[...document.querySelectorAll('#results a[data-id]')]"
STATUS = "document.querySelector('#status').innerText"
ID = "new URLSearchParams(location.search).get('id')"
DRAWN = "document.querySelector('.map')?.dataset.drawn?.startsWith(document.querySelector('.map').clientWidth + 'x')"
# As many neighbours as the page asks for; there are more pictures.
NEIGHBOURS = 100
# Pictures in formats that no browser shows, and their widths.
UNSHOWN = {"scan.tif": 29, "raw.ppm": 600}


def check(truth, message):
    if not truth:
        raise AssertionError(message)


def main():
    program, folder, scene, *arguments = sys.argv[1:]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scenes = {"works": works, "below": below, "token": token, "elsewhere": elsewhere, "filters": filters, "accessible": accessible, "groups": groups, "without-uploads": without_uploads, "words": words, "fills": fills, "file": file}
    with Chromium(program) as browser:
        browser.window(1400, 900)
        scenes[scene](browser, folder, *arguments)
    print("the page works")


def works(browser, folder, url, picture):
    steps = (
        begins_with_random_pictures,
        drop_click_and_back,
        paste_and_choose,
        formats_that_no_browser_shows,
        the_map,
        a_map_of_few_or_of_one_distance,
        keyboard,
        states_and_errors,
        looks,
    )
    for step in steps:
        browser.window(1400, 900)
        step(browser, url, pathlib.Path(picture), folder)
    nothing_from_outside(browser, url)


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
    since = len(browser.events)
    posts = lambda: [address for method, address in browser.requests(since) if method == "POST"]
    browser.open(f"{url}/")
    browser.until(f"{LINKS}.length > 3")
    browser.drop("#query", picture)
    finds_itself(browser, picture, picture.name)
    distances = browser.run(f"{LINKS}.map(l => Number(l.dataset.distance))")
    check(len(distances) > 3 and distances == sorted(distances), f"nearest first: {distances}")
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
    browser.until(f"{ID} === {json.dumps(second)}")
    browser.until(f"document.querySelector('#query .id').innerText === {json.dumps(second)}")
    check(browser.run("document.querySelector('#query img').alt").endswith(second), "the query has a text")
    browser.until(f"{LINKS}.length > 3 && {LINKS}.every(l => l.dataset.id !== {json.dumps(second)})")
    check(len(posts()) == 1, f"the picture is sent once: {posts()}")
    # Back to the picture that was dropped, which is not sent again.
    browser.run("history.back()")
    browser.until("document.querySelector('#query strong').innerText === 'Your picture'")
    browser.until(f"{LINKS}[0].dataset.id === {json.dumps(picture.name)}")
    check(len(posts()) == 1, f"going back asks nothing: {posts()}")
    # The name of the page leads to its beginning, also from an address that is the same.
    browser.click(".name")
    browser.until("document.querySelector('#query')?.innerText.includes('Drop a picture')")


def finds_itself(browser, picture, name):
    """The page shows the neighbours of a picture that was sent, which is among those that are searched."""
    browser.until("document.querySelector('#query strong').innerText === 'Your picture'")
    browser.until("document.querySelector('#query img')?.naturalWidth > 0")
    shown = browser.run("document.querySelector('#query .id').innerText")
    check(shown == name, f"{name} is the query, not {shown}")
    nearest = browser.run(f"({{ ...{LINKS}[0].dataset }})")
    check(nearest["id"] == picture.name, f"{picture.name} is the nearest to itself, not {nearest}")
    check(float(nearest["distance"]) == 0, f"the picture itself is at 0: {nearest}")


def paste_and_choose(browser, url, picture, folder):
    for name, send in (
        ("pasted.jpg", lambda: browser.paste(f"/object/{picture.name}")),
        (picture.name, lambda: browser.choose("#choose", picture)),
    ):
        browser.open(f"{url}/")
        browser.until(f"{LINKS}.length > 3")
        send()
        finds_itself(browser, picture, name)


def formats_that_no_browser_shows(browser, url, picture, folder):
    for id, width in UNSHOWN.items():
        browser.open(f"{url}/?id={id}")
        browser.until(f"document.querySelector('#query img')?.naturalWidth === {width}")
    browser.open(f"{url}/?id={picture.name}")
    browser.until(f"{LINKS}.some(l => l.dataset.id === 'raw.ppm')")
    browser.run("document.querySelector('a[data-id=\"raw.ppm\"]').scrollIntoView({ block: 'center' })")
    browser.point("a[data-id='raw.ppm']")
    browser.until(f"document.querySelector('#preview img')?.naturalWidth === {UNSHOWN['raw.ppm']}")


def the_map(browser, url, picture, folder):
    browser.open(f"{url}/?id={picture.name}")
    browser.until(f"{LINKS}.length === {NEIGHBOURS}")
    browser.click("[data-view=map]")
    browser.until("document.querySelectorAll('.map li').length > 3")
    check("view=map" in browser.run("location.search"), "the view is in the address")
    for width, height in ((1400, 900), (390, 844)):
        browser.window(width, height)
        browser.until(DRAWN)
        discs, status = browser.run(DISCS), browser.run(STATUS)
        check(len(discs) > 8, f"{len(discs)} are shown at a width of {width}")
        if width > 1000:
            check(len(discs) == NEIGHBOURS + 1, f"{len(discs)} of {NEIGHBOURS} and the query are shown")
            check(status.startswith(f"{NEIGHBOURS} most similar, at distances "), status)
        else:
            check(len(discs) < NEIGHBOURS + 1, f"all are shown at a width of {width}")
            few = f"{len(discs) - 1} of the {NEIGHBOURS} most similar have room here"
            check(status == few, f"{len(discs) - 1} and the query are shown: {status}")
            cut = browser.run("(text => text.scrollWidth > text.clientWidth)(document.querySelector('#status'))")
            check(not cut, f"not all is seen: {status}")
        none_covers_another(discs)
        box = browser.run("(b => [b.left, b.top, b.right, b.bottom])(document.querySelector('.map').getBoundingClientRect())")
        for x, y, size in discs:
            inside = box[0] <= x - size / 2 and x + size / 2 <= box[2] and box[1] <= y - size / 2 and y + size / 2 <= box[3]
            check(inside, f"one stands out at a width of {width}")
        # The middle is the query; further away is never nearer to it.
        middle, radii = discs[0], []
        for x, y, _ in discs[1:]:
            radii.append(round(((x - middle[0]) ** 2 + (y - middle[1]) ** 2) ** 0.5))
        check(radii == sorted(radii), f"by distance: {radii}")
        check(browser.run("document.querySelector('.map .middle img').alt"), "the middle has a text")
    # A hover shows one large, and a click makes it the next query, in a map again.
    browser.window(1400, 900)
    browser.until(DRAWN)
    id = browser.run(f"{LINKS}[4].dataset.id")
    browser.point(f".map a[data-id='{id}']")
    browser.until(f"document.querySelector('#preview .id').innerText === {json.dumps(id)}")
    browser.until("document.querySelector('#preview img').naturalWidth > 0")
    browser.screenshot(folder / "map-pointed.png")
    browser.click(f".map a[data-id='{id}']")
    browser.until(f"{ID} === {json.dumps(id)}")
    browser.until(f"{LINKS}.length > 3 && {LINKS}.every(l => l.dataset.id !== {json.dumps(id)})")
    check(browser.run(DRAWN) and "view=map" in browser.run("location.search"), "it is a map again")
    for view in (".map", ".grid"):
        browser.run("history.back()")
        browser.until(f"{ID} === {json.dumps(picture.name)} && document.querySelector('{view}') !== null")


def none_covers_another(discs):
    for (x, y, size), (other_x, other_y, other_size) in itertools.combinations(discs, 2):
        apart = ((x - other_x) ** 2 + (y - other_y) ** 2) ** 0.5
        check(apart >= (size + other_size) / 2 - 0.5, f"two of {len(discs)} cover each other: {apart}")


def a_map_of_few_or_of_one_distance(browser, url, picture, folder):
    browser.open(f"{url}/")
    for distances in ([0.5], [0.0], [0.5, 0.5], [0.1, 0.9], [0.5] * NEIGHBOURS, [0.0] * 99 + [1.0]):
        for width, height in ((1000, 800), (358, 358), (100, 20)):
            laid_out = browser.run(f"import('/page/map.js').then(map => map.layOut({distances}, {width}, {height}))")
            places, side = laid_out["places"], laid_out["side"]
            check(width < 1000 or len(places) == len(distances), f"{len(places)} of {distances}")
            none_covers_another([(0, 0, 1.5 * side)] + [(place["x"], place["y"], side) for place in places])
            for place in places:
                far = (place["x"] ** 2 + place["y"] ** 2) ** 0.5 + side / 2
                check(far <= min(width, height) / 2 + 0.5, f"one of {distances} stands out of {width}x{height}")


def keyboard(browser, url, picture, folder):
    for view in ("grid", "map"):
        browser.open(f"{url}/?id={picture.name}&view={view}")
        browser.until(f"{LINKS}.length > 3")
        check(browser.run(f"{LINKS}.every(l => l.querySelector('img').alt)"), "every picture has a text")
        nearest = browser.run(f"{LINKS}[0].dataset.id")
        for _ in range(20):
            browser.key("Tab")
            focused = browser.run("document.activeElement.dataset.id")
            if focused:
                break
        check(focused == nearest, f"in the {view}, Tab leads to {nearest}, not {focused}")
        outline = browser.run("getComputedStyle(document.activeElement).outlineStyle")
        check(outline == "solid", f"in the {view}, it is not seen where the focus is: {outline}")
        for key in ("ArrowRight", "ArrowDown"):
            before = focused
            browser.key(key)
            focused = browser.run("document.activeElement.dataset.id")
            check(focused and focused != before, f"in the {view}, {key} leads from {before} to {focused}")
            browser.until(f"document.querySelector('#preview .id').innerText === {json.dumps(focused)}")
        browser.key("Enter")
        browser.until(f"{ID} === {json.dumps(focused)} && document.querySelector('.{view}') !== null")
        browser.until(f"{LINKS}.length > 3 && {LINKS}.every(l => l.dataset.id !== {json.dumps(focused)})")


def states_and_errors(browser, url, picture, folder):
    browser.open(f"{url}/?id=no-such-object.jpg")
    browser.until("document.querySelector('.message h2')?.innerText === 'There is no such picture'")
    browser.until("document.querySelector('#query').innerText.includes('This picture cannot be shown here')")
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


def looks(browser, url, picture, folder):
    """Both views, wide and narrow, light and dark, for people; and what a machine can tell of them."""
    backs = {}
    for view, (name, width, height), scheme in itertools.product(
        ("grid", "map"), (("wide", 1400, 900), ("narrow", 390, 844)), ("light", "dark")
    ):
        browser.window(width, height, scheme == "dark")
        browser.open(f"{url}/?id={picture.name}&view={view}")
        browser.until(f"{LINKS}.length > 3")
        browser.screenshot(folder / f"{view}-{name}-{scheme}.png")
        scrolls = browser.run("document.documentElement.scrollWidth > innerWidth")
        check(not scrolls, f"the page is wider than a {name} window")
        backs[scheme] = colour(browser, "body", "backgroundColor")
        texts = [("body", "body"), ("#status", "body"), ("button.main", "button.main"), ("#random", "#random")]
        for text, back in texts + ([(".distance", ".grid a")] if view == "grid" else []):
            ratio = contrast(colour(browser, text, "color"), colour(browser, back, "backgroundColor"))
            check(ratio >= 4.5, f"{text} on {back} is hard to read where it is {scheme}: {ratio}")
    check(luminance(backs["dark"]) < luminance(backs["light"]), f"dark is darker than light: {backs}")


def colour(browser, selector, name):
    text = browser.run(f"getComputedStyle(document.querySelector('{selector}')).{name}")
    values = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", text)
    check(values, f"{name} of {selector} is {text}")
    return [int(value) for value in values.groups()]


def luminance(colour):
    """As WCAG 2 defines it, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    values = [value / 255 for value in colour]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def without_uploads(browser, folder, url, picture):
    browser.open(f"{url}/")
    browser.until(f"{LINKS}.length === 2")
    check("takes no pictures" in browser.run("document.querySelector('#query').innerText"), "the page says so")
    check(browser.run("document.querySelector('#choose').hidden"), "nothing can be chosen")
    browser.screenshot(folder / "without-uploads.png")
    # For a file that is dropped the browser would leave the page, did the page not prevent it.
    browser.run(
        "window.drags = []; for (const kind of ['dragover', 'drop'])"
        " addEventListener(kind, event => drags.push([event.defaultPrevented, document.querySelector('#drop').hidden]))"
    )
    browser.drop("#results", picture)
    browser.until("drags.length > 0")
    drags = browser.run("drags")
    check(all(prevented for prevented, _ in drags), f"the browser shows the file instead: {drags}")
    check(all(hidden for _, hidden in drags), f"the page does not ask for the file: {drags}")
    browser.paste("/object/00000.jpg")
    browser.until(f"{STATUS}.includes('takes no pictures')")
    check(browser.run("drags.length > 0"), "the page is the same")
    # A map with one neighbour.
    browser.open(f"{url}/?id=00000.jpg&view=map")
    browser.until(f"{LINKS}.length === 1")
    discs = browser.run(DISCS)
    check(len(discs) == 2, f"the query and its neighbour: {discs}")
    none_covers_another(discs)
    status = browser.run(STATUS)
    check(re.fullmatch(r"1 most similar, at distance [\d.]+", status), status)
    browser.screenshot(folder / "map-of-one.png")
    posts = [request for request in browser.requests() if request[0] == "POST"]
    check(not posts, f"nothing is sent: {posts}")
    nothing_from_outside(browser, url)


def below(browser, folder, url):
    browser.open(url)
    browser.until(f"{LINKS}.length > 3")
    check(browser.run("getComputedStyle(document.querySelector('header')).position") == "sticky", "the page has its style")
    id = browser.run(f"{LINKS}[0].dataset.id")
    address = browser.run(f"{LINKS}[0].href")
    check(address == f"{url.rstrip('/')}/?id={id}", f"an address that can be shared, not {address}")
    browser.click("#results li a")
    browser.until(f"{ID} === {json.dumps(id)}")
    for _ in range(2):
        browser.until("document.querySelector('#query img')?.naturalWidth > 0")
        browser.until(f"{LINKS}.length > 3 && {LINKS}[0].querySelector('img').naturalWidth > 0")
        # And the same where somebody was sent the address.
        browser.open(address)
    browser.click("[data-view=map]")
    browser.until("document.querySelectorAll('.map li').length > 3")
    browser.run("history.back()")
    browser.until("document.querySelector('.grid') !== null")
    browser.click(".name")
    browser.until("document.querySelector('#query')?.innerText.includes('takes no pictures')")
    nothing_from_outside(browser, url.rstrip("/"))


def filters(browser, folder, url, picture):
    picture = pathlib.Path(picture)
    shown = f"{LINKS}.filter(l => !l.parentElement.hidden)"
    paths = f"{shown}.map(l => l.dataset.path)"
    similar = lambda more: browser.run(
        f"fetch('similar/{picture.name}?limit=1000{more}')"
        f".then(a => a.json()).then(a => a.similarImages.filter(i => i.objectId !== '{picture.name}'))"
    )
    choose = lambda name, script: browser.run(
        f"(field => {{ {script}; field.dispatchEvent(new Event('input', {{ bubbles: true }}));"
        f" field.dispatchEvent(new Event('change', {{ bubbles: true }})) }})(document.querySelector('#filters [name={name}]'))"
    )
    address = f"{url}/?id={picture.name}"
    browser.open(address)
    browser.until(f"{LINKS}.length === {NEIGHBOURS}")
    everything = [one["path"] for one in similar("")]
    # More come when the end is near, until there are no more.
    for _ in range(9):
        browser.run("scrollTo(0, document.body.scrollHeight)")
        browser.run("new Promise(done => setTimeout(done, 50))")
    browser.until(f"{LINKS}.length === {len(everything)}")
    check(browser.run(paths) == everything, "all are shown once, nearest first")
    check(browser.run(STATUS).startswith(f"{len(everything)} most similar"), browser.run(STATUS))
    # The slider hides what is farther, and the address says so.
    browser.run("scrollTo(0, 0)")
    choose("distance", "field.value = 100")
    near = browser.run(paths)
    check(0 < len(near) < len(everything) and near == everything[: len(near)], f"the nearest {len(near)}")
    most = browser.run("Number(new URLSearchParams(location.search).get('maxDistance'))")
    check(near == [one["path"] for one in similar(f"&maxDistance={most}")], f"those at {most} at most")
    browser.screenshot(folder / "filtered.png")
    browser.open(f"{address}&maxDistance={most}")
    browser.until(f"{shown}.length === {len(near)}")
    check(browser.run("document.querySelector('#filters output').value").startswith("up to "), "the form says what is asked for")
    # A folder.
    browser.open(address)
    browser.until(f"{LINKS}.length === {NEIGHBOURS}")
    folders = browser.run("[...document.querySelectorAll('#folders option')].map(o => o.value)")
    check(folders == ["a", "b", "b/c"], f"the folders to choose from: {folders}")
    choose("within", "field.value = 'b'")
    inside = [one["path"] for one in similar("&within=b")]
    check(0 < len(inside) < len(everything) and all(path.startswith("b/c/") for path in inside), f"{inside}")
    browser.until(f"{shown}.length === {min(len(inside), NEIGHBOURS)} && {paths}.every(p => p.startsWith('b/c/'))")
    check("within=b" in browser.run("location.search"), "the address has the folder")
    choose("within", "field.value = 'nowhere'")
    browser.until("document.querySelector('.message')?.innerText.includes('no listed object is below')")
    browser.run("history.back()")
    browser.until(f"{shown}.length > 3")
    choose("within", "field.value = ''")
    # Those of one shape.
    browser.until(f"{shown}.length === {NEIGHBOURS}")
    choose("same", "field.checked = true")
    browser.until("location.search.includes('orientation=same')")
    wide = f"{shown}.every(l => l.querySelector('img').naturalWidth > 1.05 * l.querySelector('img').naturalHeight)"
    for _ in range(9):
        browser.run("scrollTo(0, document.body.scrollHeight)")
        browser.run("new Promise(done => setTimeout(done, 100))")
    expected = [path for path in everything if "wide" in path]
    browser.until(f"{shown}.length === {len(expected)}")
    check(browser.run(wide) and browser.run(paths) == expected, "those that are wide, as the query")
    browser.screenshot(folder / "same-orientation.png")
    # The list of them, copied and downloaded.
    browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    browser.run("scrollTo(0, 0)")
    browser.click("#copy")
    browser.until(f"{STATUS}.includes('copied')")
    check(browser.run("navigator.clipboard.readText()").split("\n") == [*expected, ""], "a path on each line")
    downloads = folder / "downloads"
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir()
    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads.resolve()))
    browser.click("#download")
    browser.wait(lambda: (downloads / "similar.csv").exists(), "the list is downloaded")
    with open(downloads / "similar.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    check([row["path"] for row in rows] == expected, f"a row for each: {rows[:2]}")
    check(all(row["object_id"] == pathlib.Path(row["path"]).name and float(row["distance"]) > 0 for row in rows), "all columns")
    # A map has the same filters.
    browser.click("[data-view=map]")
    browser.until(f"{DRAWN} && {LINKS}.every(l => l.dataset.path.includes('wide'))")
    # A picture from outside is sent again for more.
    browser.open(f"{url}/")
    browser.until(f"{LINKS}.length > 3")
    browser.drop("#query", picture)
    browser.until(f"{LINKS}.length === {NEIGHBOURS}")
    # As people do who see that it was not the end; the page itself scrolls once more when it is there.
    browser.until(f"scrollTo(0, document.body.scrollHeight) ?? {LINKS}.length === {len(everything) + 1}")
    nothing_from_outside(browser, url)


def groups(browser, folder, url, axe):
    shown = "[...document.querySelectorAll('.group')].map(g => [...g.querySelectorAll('.id')].map(i => i.innerText))"
    focused = "[...document.querySelectorAll('.group')].indexOf(document.activeElement)"
    browser.open(f"{url}/")
    browser.until(f"{LINKS}.length > 3")
    browser.click("#duplicates")
    # How near duplicates are is not known for these features.
    browser.until("document.querySelector('.problem')?.innerText.includes('is not known')")
    browser.run("document.querySelector('.distance-of-groups input').value = '0.2'")
    browser.click(".distance-of-groups button")
    browser.until("document.querySelectorAll('.group').length === 4")
    expected = [["a0.jpg", "a1.jpg"], ["b0.jpg", "b1.jpg", "b2.jpg"], ["c0.jpg", "c1.jpg"], ["d0.jpg", "d1.jpg"]]
    check(browser.run(shown) == expected, browser.run(shown))
    check("0.2" in browser.run("location.search"), "the address has the distance")
    browser.screenshot(folder / "groups.png")
    if axe:
        violations = axe_violations(browser, pathlib.Path(axe).read_text(), "groups")
        check(not violations, json.dumps(violations, indent=1))
    # j and k go from group to group.
    browser.run("document.activeElement.blur()")
    for key, at in (("j", 0), ("j", 1), ("k", 0), ("k", 0), ("j", 1)):
        browser.key(key)
        check(browser.run(focused) == at, f"{key} goes to group {at}, not {browser.run(focused)}")
    # A picture that is no duplicate leaves its group.
    browser.click(".group:nth-child(2) li:nth-child(2) .decisions button:nth-child(2)")
    expected[1] = ["b0.jpg", "b2.jpg"]
    browser.until(f"JSON.stringify({shown}) === {json.dumps(json.dumps(expected, separators=(',', ':')))}")
    # One to keep, by the key of its place, and one group that is none.
    browser.run("document.querySelector('.group').focus()")
    browser.key("2")
    browser.until("document.querySelectorAll('.group').length === 3")
    check(browser.run(shown) == expected[1:], browser.run(shown))
    browser.run("document.querySelectorAll('.group')[1].focus()")
    browser.key("n")
    browser.until("document.querySelectorAll('.group').length === 2")
    check(browser.run(shown) == [expected[1], expected[3]], browser.run(shown))
    browser.until(f"{STATUS}.includes('2 groups of duplicates')")
    browser.window(390, 844)
    browser.screenshot(folder / "groups-narrow.png")
    check(not browser.run("document.documentElement.scrollWidth > innerWidth"), "the page is wider than the window")
    nothing_from_outside(browser, url)


def axe_violations(browser, axe, where):
    browser.run(f"(() => {{ {axe} }})()")
    report = browser.run("axe.run().then(({ violations, passes }) => ({ violations, passes: passes.length }))")
    check(report["passes"] > 10, f"axe-core looks at {where}")
    return {
        f"{where}: {one['id']}: {one['help']}": [node["html"][:200] for node in one["nodes"][:3]]
        for one in report["violations"]
    }


def accessible(browser, folder, url, axe, id):
    axe = pathlib.Path(axe).read_text()
    found = {}
    for path, until in (
        ("/", f"{LINKS}.length > 3"),
        (f"/?id={id}", f"{LINKS}.length > 3"),
        (f"/?id={id}&view=map", f"{LINKS}.length > 3"),
        (f"/?id={id}&within=nowhere", "document.querySelector('.message') !== null"),
    ):
        for width, dark in ((1400, False), (1400, True), (390, False)):
            browser.window(width, 900, dark)
            browser.open(f"{url}{path}")
            browser.until(until)
            found |= axe_violations(browser, axe, f"{path} {width} {'dark' if dark else 'light'}")
    check(not found, json.dumps(found, indent=1))


def token(browser, folder, url, token):
    browser.open(f"{url}/")
    browser.until("document.querySelector('h1')?.innerText === 'This server wants its token'")
    browser.screenshot(folder / "without-token.png")
    # It leads on to another address.
    browser.run(f"location.href = './?token={token}&view=map'")
    browser.until(f"{LINKS}.length > 3")
    check(browser.run("location.search") == "?view=map", "the token is gone from the address")
    check(browser.run("document.cookie") == "", "no script sees the cookie")
    browser.until(f"{LINKS}[0].querySelector('img').naturalWidth > 0")
    browser.open(f"{url}/")
    browser.until(f"{LINKS}.length > 3")


def elsewhere(browser, folder, url, id):
    """A page of another site shows a picture of the server, puts the server's page in a frame, and links to it."""
    html = f"<img src='{url}/thumbnail/{id}'><iframe src='{url}/random'></iframe><a href='{url}/'>a link</a>"

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        # Another name than the server's, and so another site.
        browser.open(f"http://localhost:{site.server_port}/")
        browser.until("document.readyState === 'complete'")
        check(browser.run("document.images[0].naturalWidth") == 0, "the picture is not shown")
        browser.click("a")
        browser.until(f"{LINKS}.length > 3 && {LINKS}[0].querySelector('img').naturalWidth > 0")
        check(browser.run("location.href").startswith(url), "the link leads to the server")
        site.shutdown()


def words(browser, folder, url):
    def shown(words, first):
        browser.until(f"document.querySelector('#query .words')?.innerText === {json.dumps(words)}")
        browser.until(f"{LINKS}[0]?.dataset.id === {json.dumps(first)} && {LINKS}[0].dataset.distance")
        check(browser.run("new URLSearchParams(location.search).get('text')") == words, "the address has the words")
        check(browser.run("document.querySelector('#words input').value") == words, "the field has the words")

    def search(words):
        browser.run(f"document.querySelector('#words input').value = {json.dumps(words)}")
        browser.click("#words button")

    browser.open(f"{url}/")
    browser.until(f"{LINKS}.length === 3")
    search("A red & green?")
    shown("A red & green?", "red.ppm")
    search("green")
    shown("green", "green.ppm")
    browser.screenshot(folder / "words.png")
    browser.window(390, 844)
    browser.screenshot(folder / "words-narrow.png")
    browser.window(1400, 900)
    browser.run("history.back()")
    shown("A red & green?", "red.ppm")
    # An address that somebody was sent.
    browser.open(f"{url}/?text=blue&view=map")
    shown("blue", "blue.ppm")
    browser.screenshot(folder / "words-map.png")
    # A picture that was found is the next query.
    browser.click("#results a[data-id='green.ppm']")
    browser.until(f"{ID} === 'green.ppm' && document.querySelector('#query .id').innerText === 'green.ppm'")
    check(browser.run("document.querySelector('#words input').value") == "", "the words are gone")
    nothing_from_outside(browser, url)


def fills(browser, folder, url, before, after):
    browser.open(f"{url}/")
    browser.until("document.querySelector('.message h2')?.innerText === 'There is nothing to show yet'")
    text = browser.run("document.querySelector('main').innerText")
    check("Start the server again" in text and "Drop" not in text, text)
    browser.screenshot(folder / "empty.png")
    os.rename(before, after)
    browser.until("fetch('/healthz').then(answer => answer.json()).then(({ objects }) => objects > 0)")
    browser.click(".message button")
    browser.until(f"{LINKS}.length > 0")
    count, status = browser.run(f"{LINKS}.length"), browser.run(STATUS)
    check(status.startswith(f"{count} of {count} pictures"), f"{count} are shown: {status}")
    nothing_from_outside(browser, url)


def file(browser, folder, path):
    url = pathlib.Path(path).as_uri()
    browser.open(url)
    widths = browser.run("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth, () => 0)))")
    check(len(widths) > 3 and all(widths), f"all pictures are shown: {widths}")
    browser.screenshot(folder / "file.png")
    asked = [address for _, address in browser.requests() if not address.startswith("data:")]
    check(asked == [url], f"nothing but the file is asked for: {asked}")
    check(not browser.complaints(), f"nothing is refused: {browser.complaints()}")


def nothing_from_outside(browser, url):
    """Of all that happened: requests went to the server alone, and nothing was refused or failed in the page."""
    for _, asked in browser.requests():
        inside = asked == url or asked.startswith((f"{url}/", "data:", "blob:", "about:"))
        check(inside, f"the page asks {asked}")
    check(not browser.complaints(), f"the page fails: {browser.complaints()}")


main()
