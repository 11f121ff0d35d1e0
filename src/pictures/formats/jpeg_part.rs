//! What a JPEG within another format is to become, for whichever decoder of JPEG is built in.

/// What the components of a JPEG within another format are; they are not converted, but that YCbCr becomes RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixels {
    Gray,
    Rgb,
    Cmyk,
}

/// How components that are stored with fewer pixels are made larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upsampling {
    /// By weighing neighbours, as libjpeg does by itself.
    Smooth,
    /// Each pixel several times.
    Repeated,
}
