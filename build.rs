//! Compiles what stands between libjpeg-turbo and Rust.

fn main() {
    println!("cargo:rerun-if-changed=src/pictures/formats/jpeg_turbo.c");
    #[cfg(feature = "turbojpeg")]
    {
        let mut build = cc::Build::new();
        // Where `turbojpeg-sys` has put the headers; without, it found them where the compiler looks anyway.
        if let Ok(folders) = std::env::var("DEP_TURBOJPEG_INCLUDE") {
            build.includes(folders.split(','));
        }
        build
            .file("src/pictures/formats/jpeg_turbo.c")
            .compile("simsearch_jpeg_turbo");
    }
}
