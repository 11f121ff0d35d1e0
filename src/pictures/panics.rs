//! A decoder that panics fails its picture, and not the program.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, Location, PanicHookInfo, catch_unwind};

use super::PictureError;

thread_local! {
    static CATCHES_PANICS: Cell<bool> = const { Cell::new(false) };
    /// Where the last one was.
    static PLACE: Cell<String> = const { Cell::new(String::new()) };
}

/// Whether a panic is one of a decoder, which becomes a [`PictureError::DecoderPanicked`]: a panic hook asks this to
/// know that it has nothing to print. The error says where it was.
pub fn becomes_an_error(panic: &PanicHookInfo<'_>) -> bool {
    if CATCHES_PANICS.get() {
        PLACE.set(panic.location().map(place).unwrap_or_default());
    }
    CATCHES_PANICS.get()
}

/// A line of a crate, without the folders of the machine that built this program.
fn place(location: &Location<'_>) -> String {
    let file = location.file();
    let of_crate = file.split_once("/registry/src/");
    let of_crate = of_crate.and_then(|(_, file)| file.split_once('/'));
    let file = of_crate.map_or(file, |(_, file)| file);
    format!(" ({file}:{})", location.line())
}

/// Makes an error of a panic: the only place where one is caught. The caller throws away what `work` has left half
/// done.
pub(super) fn catch_panic<T>(
    work: impl FnOnce() -> Result<T, PictureError>,
) -> Result<T, PictureError> {
    CATCHES_PANICS.set(true);
    let ended = catch_unwind(AssertUnwindSafe(work));
    CATCHES_PANICS.set(false);
    ended.unwrap_or_else(|panic| {
        Err(PictureError::DecoderPanicked {
            message: panic_message(&*panic) + &PLACE.take(),
        })
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        let of =
            |work: fn() -> Result<(), PictureError>| catch_panic(work).unwrap_err().to_string();
        assert_eq!(
            of(|| panic!("at row {}", 7)),
            "the picture's decoder panicked: at row 7"
        );
        assert_eq!(
            of(|| panic!("plain")),
            "the picture's decoder panicked: plain"
        );
    }
}
