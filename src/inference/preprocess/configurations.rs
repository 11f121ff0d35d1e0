//! The configurations that are found beside models: those of transformers and of timm.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::{Backend, Channels, OVER_255, Preprocess, Scale};
use crate::pictures::{Filter, Resize, Rounding};

/// Whether a configuration is one of a processor of transformers.
pub(super) fn is_of_transformers(json: &Value) -> bool {
    [
        "image_processor_type",
        "feature_extractor_type",
        "do_resize",
    ]
    .iter()
    .any(|key| json.get(key).is_some())
}

/// The image processors of `transformers` that do what is read here, and nothing else.
const PROCESSORS: [&str; 14] = [
    "CLIP",
    "ViT",
    "Siglip",
    "Bit",
    "ConvNext",
    "Beit",
    "DeiT",
    "EfficientNet",
    "Levit",
    "MobileNetV1",
    "MobileNetV2",
    "Pvt",
    "Blip",
    "ChineseCLIP",
];

/// `preprocessor_config.json`, with the meaning of `transformers`' processors with `backend="pil"`.
pub(super) fn of_transformers(json: &Value) -> Result<Preprocess> {
    let kind = (json.get("image_processor_type"))
        .or_else(|| json.get("feature_extractor_type"))
        .and_then(Value::as_str)
        .context("it has no `image_processor_type`")?;
    let name = ["Pil", "Fast", "ImageProcessor", "FeatureExtractor"]
        .iter()
        .fold(kind, |name, end| name.strip_suffix(end).unwrap_or(name));
    ensure!(
        PROCESSORS.contains(&name),
        "{kind} is not known here; known are those of {}",
        PROCESSORS.join(", ")
    );
    let flag = |key: &str, default: bool| json.get(key).and_then(Value::as_bool).unwrap_or(default);
    // Those whose size is the shortest side by default, and that of what is cropped.
    let keeps_ratio = matches!(
        name,
        "CLIP" | "ChineseCLIP" | "Bit" | "Levit" | "MobileNetV1" | "MobileNetV2"
    );
    let crops = flag("do_center_crop", keeps_ratio || name == "DeiT");
    ensure!(flag("do_resize", true), "`do_resize` is false");
    ensure!(!flag("do_pad", false), "`do_pad` is true");
    let size = json.get("size").context("it has no `size`")?;
    let shortest = match name {
        _ if keeps_ratio || name == "ConvNext" => side(size, "shortest_edge"),
        _ => (size.get("shortest_edge")).and_then(|side| side.as_u64().map(|side| side as usize)),
    };
    let crop = json.get("crop_size").filter(|_| crops);
    ensure!(crop.is_some() || !crops, "it has no `crop_size`");
    let crop = crop.map(|crop| sides(crop).context("`crop_size` is no size"));
    let (resize, [width, height]) = match (shortest, crop.transpose()?) {
        // Large inputs are not cropped; `ConvNextImageProcessor.resize`.
        (Some(side), None) if name == "ConvNext" && side >= 384 => (Resize::Squash, [side; 2]),
        (Some(side), None) if name == "ConvNext" => {
            let part = json.get("crop_pct").and_then(Value::as_f64);
            let part = part.unwrap_or(224.0 / 256.0);
            (Resize::Shortest((side as f64 / part) as usize), [side; 2])
        }
        // `LevitImageProcessor.resize`.
        (Some(side), Some(crop)) if name == "Levit" => {
            let side = (256.0 / 224.0 * side as f64) as usize;
            (Resize::Shortest(side), crop)
        }
        (Some(side), Some(crop)) => (Resize::Shortest(side), crop),
        (Some(_), None) => {
            bail!("it resizes by the shortest side and crops nothing, so that sizes differ")
        }
        (None, crop) => {
            let [width, height] = sides(size).context("`size` is no size")?;
            match crop {
                Some(crop) => (Resize::Exact(width, height), crop),
                None => (Resize::Squash, [width, height]),
            }
        }
    };
    let filter = match json.get("resample").and_then(Value::as_u64) {
        Some(0) => Filter::Nearest,
        Some(1) => Filter::Lanczos,
        Some(2) => Filter::Bilinear,
        Some(3) => Filter::Bicubic,
        other => bail!("`resample` is {other:?}; known are 0 to 3"),
    };
    let scale = match flag("do_rescale", true) {
        true => json
            .get("rescale_factor")
            .and_then(Value::as_f64)
            .unwrap_or(OVER_255),
        false => 1.0,
    };
    let normalizes = flag("do_normalize", true);
    // `EfficientNetImageProcessor` ends with a division, whether it has normalized or not.
    let is_efficient_net = name == "EfficientNet";
    let divides = is_efficient_net && flag("include_top", true);
    let offset = is_efficient_net && flag("rescale_offset", false) && flag("do_rescale", true);
    let three = |key: &str, wanted: bool, default: f64| match json.get(key).filter(|_| wanted) {
        None if wanted => bail!("it has no `{key}`"),
        None => Ok([default; 3]),
        Some(Value::Number(one)) => Ok([one.as_f64().unwrap_or(default); 3]),
        Some(three) => <[f64; 3]>::deserialize(three).with_context(|| format!("`{key}`")),
    };
    Ok(Preprocess {
        width,
        height,
        resize,
        rounding: Rounding::Down,
        filter,
        scale: Scale::Times(scale),
        offset: if offset { -1.0 } else { 0.0 },
        mean: three("image_mean", normalizes, 0.0)?,
        std: three("image_std", normalizes || divides, 1.0)?,
        std_twice: normalizes && divides,
        channels: match flag("do_flip_channel_order", false) {
            true => Channels::Bgr,
            false => Channels::Rgb,
        },
        backend: Backend::Pil,
    })
}

/// A number, or the number at `key`.
fn side(size: &Value, key: &str) -> Option<usize> {
    let number = size.as_u64().or_else(|| size.get(key)?.as_u64());
    number.map(|side| side as usize)
}

/// Width and height: a number for both, or `height` and `width`.
fn sides(size: &Value) -> Option<[usize; 2]> {
    Some([side(size, "width")?, side(size, "height")?])
}

/// timm's `config.json`, with the meaning of `timm.data.create_transform` without augmentation; `None` when it is
/// another file.
pub(super) fn of_timm(json: &Value) -> Option<Result<Preprocess>> {
    let config = json.get("pretrained_cfg").unwrap_or(json);
    let input = config.get("input_size")?;
    let part = config.get("crop_pct")?.as_f64()?;
    Some(read_timm(config, input, part))
}

fn read_timm(config: &Value, input: &Value, part: f64) -> Result<Preprocess> {
    let [_, height, width] = <[usize; 3]>::deserialize(input).context("`input_size`")?;
    ensure!(
        width == height,
        "`input_size` is {height} x {width}, no square"
    );
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let side = (width as f64 / part).floor() as usize;
    let three = |key: &str| {
        let values = config
            .get(key)
            .with_context(|| format!("it has no `{key}`"))?;
        <[f64; 3]>::deserialize(values).with_context(|| format!("`{key}`"))
    };
    Ok(Preprocess {
        width,
        height,
        resize: match text("crop_mode").unwrap_or("center") {
            "center" => Resize::Shortest(side),
            "squash" => Resize::Exact(side, side),
            other => bail!("`crop_mode` is `{other}`; known are center and squash"),
        },
        rounding: Rounding::Even,
        filter: match text("interpolation").unwrap_or("bicubic") {
            "nearest" => Filter::Nearest,
            "bilinear" => Filter::Bilinear,
            "bicubic" => Filter::Bicubic,
            "lanczos" => Filter::Lanczos,
            other => {
                bail!("`interpolation` is `{other}`; known are nearest, bilinear, bicubic, lanczos")
            }
        },
        scale: Scale::Over255,
        offset: 0.0,
        mean: three("mean")?,
        std: three("std")?,
        std_twice: false,
        channels: Channels::Rgb,
        backend: Backend::Pil,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let base = json!({
            "image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}, "resample": 2,
            "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        });
        assert_eq!(of_transformers(&base).unwrap().resize, Resize::Squash);
        for (key, value, says) in [
            (
                "image_processor_type",
                json!("PoolFormerImageProcessor"),
                "PoolFormer",
            ),
            ("resample", json!(5), "resample"),
            ("do_resize", json!(false), "do_resize"),
            ("do_pad", json!(true), "do_pad"),
            ("size", json!({"shortest_edge": 8}), "sizes differ"),
            ("image_mean", json!(null), "image_mean"),
            ("image_std", json!([1.0]), "image_std"),
        ] {
            let mut changed = base.clone();
            changed[key] = value;
            let error = of_transformers(&changed).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{key}: {error:#}");
        }
    }
}
