//! The page of `simsearch serve`, in a real browser.

use std::path::Path;
use std::process::Command;

use super::client::Server;
use crate::{ROOT, TestEnv, need_python, need_runtime, ppm, skip, succeed};

/// Where the screenshots are left, to be looked at.
const SCREENSHOTS: &str = "target/page";

#[test]
fn the_page_works_in_chromium() {
    need_runtime!();
    let Some(chromium) = chromium() else {
        skip!("Chromium is not on this machine; `make browser-test` installs it");
    };
    let mut python = need_python!("json");
    let env = TestEnv::new();
    // Stretched or not, bright or dark: neighbours at distances of all kinds.
    let entries: Vec<String> = (0..40)
        .map(|seed| format!("picture{seed:02}.ppm"))
        .collect();
    for (seed, entry) in entries.iter().enumerate() {
        let picture = ppm(90 + 7 * (seed % 9), 60 + 11 * (seed % 5), seed);
        env.write(Path::new("media").join(entry), jpeg(&picture));
    }
    env.objects(&entries);
    env.extract("nhwc", &[]).exits(0);
    env.concat(&[]).exits(0);
    let model = crate::model_file("nhwc");
    let server = Server::start(&env, &["--model", model.to_str().unwrap()]);
    let screenshots = Path::new(ROOT).join(SCREENSHOTS);
    let said = succeed(
        python
            .arg(Path::new(ROOT).join("tests/browser/page.py"))
            .arg(chromium)
            .arg(format!("http://{}", server.address))
            .arg(env.path("media/picture07.ppm"))
            .arg(screenshots),
    );
    assert_eq!(said, "the page works\n");
}

/// A browser shows no PNM.
fn jpeg(ppm: &[u8]) -> Vec<u8> {
    let mut reader = simsearch::pixels::PictureReader::new(Default::default());
    let (size, pixels) = reader.decode(ppm).unwrap();
    simsearch::thumbnail::jpeg(pixels, size)
}

fn chromium() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| {
        let tried = Command::new(name).arg("--version").output();
        tried.is_ok_and(|output| output.status.success())
    })
}
