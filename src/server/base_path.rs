//! The path below which the server stands, where it is not the root of its host.

use std::str::FromStr;

/// A path such as `/photos`, without a slash at the end; empty for the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(String);

impl BasePath {
    /// The path itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BasePath {
    type Err = String;

    /// Takes the characters that mean nothing but themselves in an address, in HTML and in a header. A slash at the end
    /// is dropped.
    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let is_name = |name: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            !["", ".", ".."].contains(&name) && name.bytes().all(is_plain)
        };
        let is_path = match path.strip_prefix('/') {
            Some(names) => names.split('/').all(is_name),
            None => text == "/",
        };
        match is_path {
            true => Ok(BasePath(path.to_owned())),
            false => Err(
                "must be a path of letters, digits and `-._~` that begins with a slash, such as /photos"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_plain_and_leads_nowhere_else() {
        for (text, path) in [
            ("/", ""),
            ("/photos", "/photos"),
            ("/photos/", "/photos"),
            ("/a/b-c_d.e~1", "/a/b-c_d.e~1"),
        ] {
            assert_eq!(text.parse(), Ok(BasePath(path.to_owned())), "{text}");
        }
        for text in [
            "",
            "photos",
            "//",
            "//evil.example",
            "/a//b",
            "/a//",
            "/..",
            "/a/../b",
            "/./a",
            "/a b",
            "/a?b",
            "/a#b",
            "/a%2fb",
            "/\"><script>",
            "/a\\b",
            "/{a}",
            "/ä",
            "/a, /b",
            "/a\r\nb",
        ] {
            assert!(text.parse::<BasePath>().is_err(), "{text:?}");
        }
    }
}
