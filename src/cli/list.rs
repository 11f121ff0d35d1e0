//! The arguments of `list`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use simsearch::commands::list;
use simsearch::pictures::EXTENSIONS;
use simsearch::storage::object_id::IdKind;
use simsearch::storage::output::Output;
use simsearch::support::progress::counted;

use super::print::SOME_FAILED;
use super::shared::{IdsArgument, MediaDirArgument, QuietArgument};

#[derive(Debug, Args)]
pub struct ListArguments {
    #[command(flatten)]
    media: MediaDirArgument,
    #[command(flatten)]
    walk: WalkArguments,
    /// What the object ids are: the file names, so that of two files of one name the first is listed; or the paths, and
    /// all are. `extract` takes the same option.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "name")]
    ids: IdsArgument,
    /// Where to write the list; `-` is standard output [default: MEDIA_DIR/objects.txt].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    quiet: QuietArgument,
}

/// Which files of the media tree are listed.
#[derive(Debug, Args)]
pub struct WalkArguments {
    /// Sub-directory to walk, `.` for the whole tree [default: `object` where it exists, else the whole tree].
    #[arg(value_name = "SUBDIRECTORY")]
    subdirectory: Option<PathBuf>,
    /// File name extension to list; may be repeated.
    #[arg(long = "ext", value_name = "EXT", default_value = list::DEFAULT_EXTENSION, value_parser = extension)]
    extensions: Vec<String>,
    /// Match extensions in upper and lower case alike.
    #[arg(long)]
    ignore_case: bool,
    /// List all pictures whose format is read: jpg, jpeg, png, webp, gif, bmp, tif, tiff and others, in upper and lower
    /// case.
    #[arg(long, conflicts_with_all = ["extensions", "ignore_case"])]
    pictures: bool,
    /// Also list hidden files and those in hidden folders: names that begin with a dot, @eaDir, $RECYCLE.BIN,
    /// Thumbs.db.
    #[arg(long)]
    hidden: bool,
    /// Leave out what matches, by the rules of a .gitignore file; may be repeated.
    #[arg(long, value_name = "GLOB", value_parser = list::check_glob)]
    exclude: Vec<String>,
    /// Follow symbolic links; a loop is an error.
    #[arg(long)]
    follow_links: bool,
}

impl WalkArguments {
    /// What to list of a media directory, and where to.
    pub fn options(self, media_dir: PathBuf, ids: IdKind, output: Output) -> list::Options {
        list::Options {
            media_dir,
            subdirectory: self.subdirectory,
            extensions: match self.pictures {
                true => EXTENSIONS.iter().map(|end| (*end).to_owned()).collect(),
                false => self.extensions,
            },
            ignore_case: self.ignore_case || self.pictures,
            follow_links: self.follow_links,
            hidden: self.hidden,
            exclude: self.exclude,
            ids,
            output,
        }
    }
}

pub fn run(arguments: ListArguments) -> Result<ExitCode> {
    let progress = arguments.quiet.progress();
    let media_dir = arguments.media.media_dir;
    let output = match arguments.output {
        Some(path) => Output::from(path),
        None => Output::File(media_dir.join("objects.txt")),
    };
    let ids = arguments.ids.into();
    let options = arguments.walk.options(media_dir, ids, output);
    let summary = list::list(&options, &progress)?;
    for line in summary.unasked.iter().chain(&list::more_beside(&options)) {
        progress.note(line);
    }
    if let Output::File(path) = &options.output {
        progress.note(&format!(
            "listed {} in {}",
            counted(summary.objects, "object"),
            path.display()
        ));
    }
    match summary.tars {
        0 => {}
        1 => progress.note("one tar file was walked as a folder"),
        tars => progress.note(&format!("{tars} tar files were walked as folders")),
    }
    Ok(if summary.left_out > 0 {
        SOME_FAILED.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn extension(text: &str) -> Result<String, String> {
    match text {
        "" => Err("must be the end of a name, such as jpg".into()),
        _ if text.starts_with('.') || text.contains(['*', '/']) => {
            let bare = text.trim_start_matches(['*', '.']);
            Err(format!(
                "must be without dot, star or slash, such as `{bare}`"
            ))
        }
        _ => Ok(text.into()),
    }
}
