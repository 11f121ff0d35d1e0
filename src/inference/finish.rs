//! From the output of a model to features: what the recipe records as [`Finish`].

use crate::storage::recipe::{Finish, Pool};

/// The least length that a vector is divided by, as in `torch.nn.functional.normalize`: zeros stay zeros.
const LEAST_LENGTH: f64 = 1e-12;

/// Adds to `features`, `[count, d]`, those of the first `count` pictures of an output for `batch` pictures. The output
/// is `[batch, d]`, further axes being 1, or with a [`Pool`] `[batch, tokens, d]`. Gives `None` when it has another
/// shape: a recipe that says that tokens were pooled where there are none would keep the same features apart.
///
/// Sums are made in f64, one after the other, so that they do not depend on the machine.
pub fn add_features(
    finish: Finish,
    shape: &[i64],
    output: &[f32],
    batch: usize,
    count: usize,
    features: &mut Vec<f32>,
) -> Option<()> {
    let rows = usize::try_from(*shape.first()?).ok()?;
    if rows != batch || output.is_empty() {
        return None;
    }
    let pictures = output.chunks_exact(output.len() / batch).take(count);
    for picture in pictures {
        let start = features.len();
        match (finish.pool, shape) {
            (Some(pool), &[_, _, dimension]) => {
                pooled(pool, picture, usize::try_from(dimension).ok()?, features);
            }
            (None, [_, _, rest @ ..]) if rest.iter().all(|axis| *axis == 1) => {
                features.extend_from_slice(picture);
            }
            _ => return None,
        }
        if finish.normalize {
            normalize(&mut features[start..]);
        }
    }
    Some(())
}

/// One vector for `tokens`, `[t, dimension]`.
fn pooled(pool: Pool, tokens: &[f32], dimension: usize, features: &mut Vec<f32>) {
    match pool {
        Pool::Cls => features.extend_from_slice(&tokens[..dimension]),
        Pool::Mean => {
            let count = (tokens.len() / dimension) as f64;
            let mean = |at: usize| {
                let values = tokens[at..].iter().step_by(dimension);
                (values.map(|value| f64::from(*value)).sum::<f64>() / count) as f32
            };
            features.extend((0..dimension).map(mean));
        }
    }
}

/// Divides a vector by its length.
pub fn normalize(vector: &mut [f32]) {
    let squares = vector.iter().map(|value| f64::from(*value).powi(2));
    let length = squares.sum::<f64>().sqrt().max(LEAST_LENGTH);
    for value in vector {
        *value = (f64::from(*value) / length) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(finish: Finish, shape: &[i64], count: usize) -> Option<Vec<f32>> {
        let length: i64 = shape.iter().product();
        let output: Vec<f32> = (0..length).map(|value| value as f32).collect();
        let mut features = vec![-1.0];
        let batch = shape[0] as usize;
        add_features(finish, shape, &output, batch, count, &mut features)?;
        assert_eq!(features.remove(0), -1.0, "what was there stays");
        Some(features)
    }

    fn pool(pool: Pool) -> Finish {
        Finish {
            pool: Some(pool),
            normalize: false,
        }
    }

    #[test]
    fn tokens_become_one_vector_and_the_rest_of_a_batch_is_left() {
        let plain = Finish::default();
        assert_eq!(features(plain, &[3, 2], 2), Some(vec![0.0, 1.0, 2.0, 3.0]));
        assert_eq!(features(plain, &[1, 2, 1, 1], 1), Some(vec![0.0, 1.0]));
        // Of [0 1 | 2 3 | 4 5] and [6 7 | 8 9 | 10 11].
        let cls = features(pool(Pool::Cls), &[2, 3, 2], 2);
        assert_eq!(cls, Some(vec![0.0, 1.0, 6.0, 7.0]));
        let mean = features(pool(Pool::Mean), &[2, 3, 2], 2);
        assert_eq!(mean, Some(vec![2.0, 3.0, 8.0, 9.0]));
    }

    #[test]
    fn other_shapes_are_none() {
        let plain = Finish::default();
        for shape in [&[2, 3, 2][..], &[1, 3, 2, 2], &[6]] {
            assert_eq!(features(plain, shape, 1), None, "{shape:?}");
        }
        for shape in [&[1, 2][..], &[1, 2, 1, 1], &[1, 3, 2, 2]] {
            assert_eq!(features(pool(Pool::Mean), shape, 1), None, "{shape:?}");
        }
        let mut none = Vec::new();
        assert_eq!(
            add_features(plain, &[1, 2], &[0.0; 2], 2, 1, &mut none),
            None
        );
    }

    #[test]
    fn a_normalized_feature_has_length_one_and_zeros_stay() {
        let finish = Finish {
            pool: None,
            normalize: true,
        };
        let mut features = Vec::new();
        let output = [3.0, -4.0, 0.0, 0.0];
        add_features(finish, &[2, 2], &output, 2, 2, &mut features).unwrap();
        assert_eq!(features, [0.6, -0.8, 0.0, 0.0]);
    }
}
