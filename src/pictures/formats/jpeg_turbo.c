// What of libjpeg-turbo's API cannot be called from Rust: an error is reported through a function that must not return, so
// that somebody has to jump. Here every call ends with a status instead.
//
// Statuses: 0 is success, 1 success with warnings, -1 an error; the message is that of the error, or of the first warning.

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

enum { OK = 0, WARNED = 1, FAILED = -1 };

struct reader {
  struct jpeg_decompress_struct jpeg;
  struct jpeg_error_mgr errors;
  struct jpeg_progress_mgr progress;
  jmp_buf failed;
  int max_scans;
  int refuses_warnings;
  char message[JMSG_LENGTH_MAX];
};

static void keep_message(j_common_ptr jpeg) {
  struct reader *reader = jpeg->client_data;
  (*jpeg->err->format_message)(jpeg, reader->message);
}

static void fail(j_common_ptr jpeg) {
  struct reader *reader = jpeg->client_data;
  keep_message(jpeg);
  longjmp(reader->failed, 1);
}

static void take_message(j_common_ptr jpeg, int level) {
  struct reader *reader = jpeg->client_data;
  if (level >= 0)
    return;
  if (jpeg->err->num_warnings++ == 0)
    keep_message(jpeg);
  if (reader->refuses_warnings)
    longjmp(reader->failed, 1);
}

static void count_scans(j_common_ptr jpeg) {
  struct reader *reader = jpeg->client_data;
  if (reader->jpeg.input_scan_number > reader->max_scans) {
    snprintf(reader->message, sizeof reader->message, "more than %d scans", reader->max_scans);
    longjmp(reader->failed, 1);
  }
}

static int status(const struct reader *reader) { return reader->errors.num_warnings > 0 ? WARNED : OK; }

void simsearch_jpeg_close(struct reader *reader) {
  jpeg_destroy_decompress(&reader->jpeg);
  free(reader);
}

static int begin(struct reader *reader, const unsigned char *bytes, unsigned long len) {
  if (setjmp(reader->failed))
    return FAILED;
  jpeg_create_decompress(&reader->jpeg);
  reader->progress.progress_monitor = count_scans;
  reader->jpeg.progress = &reader->progress;
  jpeg_mem_src(&reader->jpeg, bytes, len);
  return OK;
}

// Begins to read the bytes, which must stay and be some. Null where there is no memory.
struct reader *simsearch_jpeg_open(const unsigned char *bytes, unsigned long len, int max_scans, int refuses_warnings) {
  struct reader *reader = calloc(1, sizeof *reader);
  if (reader == NULL)
    return NULL;
  reader->max_scans = max_scans;
  reader->refuses_warnings = refuses_warnings;
  reader->jpeg.err = jpeg_std_error(&reader->errors);
  reader->errors.error_exit = fail;
  reader->errors.emit_message = take_message;
  reader->jpeg.client_data = reader;
  if (begin(reader, bytes, len) == OK)
    return reader;
  simsearch_jpeg_close(reader);
  return NULL;
}

const char *simsearch_jpeg_message(const struct reader *reader) { return reader->message; }

struct header {
  unsigned width, height;
  int precision;
  // Colours before they are converted: 1 gray, 4 CMYK or YCCK, 3 others. 0 where there are tables and no picture.
  int components;
  int lossless;
  int multiple_scans;
};

int simsearch_jpeg_header(struct reader *reader, struct header *header) {
  struct jpeg_decompress_struct *jpeg = &reader->jpeg;
  if (setjmp(reader->failed))
    return FAILED;
  header->components = 0;
  if (jpeg_read_header(jpeg, FALSE) == JPEG_HEADER_TABLES_ONLY)
    return status(reader);
  header->width = jpeg->image_width;
  header->height = jpeg->image_height;
  header->precision = jpeg->data_precision;
  switch (jpeg->jpeg_color_space) {
  case JCS_GRAYSCALE: header->components = 1; break;
  case JCS_CMYK:
  case JCS_YCCK: header->components = 4; break;
  default: header->components = 3;
  }
  // The library tells nobody else: a lossless picture has units of one pixel where others have blocks.
  header->lossless = jpeg->min_DCT_scaled_size == 1;
  header->multiple_scans = jpeg_has_multiple_scans(jpeg);
  return status(reader);
}

// To be called once, behind a header with a picture: the rows will have `components` bytes a pixel, for gray, RGB or CMYK,
// and the size of the picture divided by `divisor` (1, 2, 4 or 8), rounded up.
int simsearch_jpeg_start(struct reader *reader, int components, unsigned divisor, int smooth) {
  struct jpeg_decompress_struct *jpeg = &reader->jpeg;
  if (setjmp(reader->failed))
    return FAILED;
  jpeg->out_color_space = components == 1 ? JCS_GRAYSCALE : components == 4 ? JCS_CMYK : JCS_EXT_RGB;
  jpeg->do_fancy_upsampling = smooth;
  jpeg->dct_method = JDCT_ISLOW;
  jpeg->scale_num = 1;
  jpeg->scale_denom = divisor;
  jpeg_start_decompress(jpeg);
  return status(reader);
}

// The number of bytes in a row of a picture that was started, and how many rows are left of it.
unsigned long simsearch_jpeg_row_len(const struct reader *reader) {
  return (unsigned long)reader->jpeg.output_width * reader->jpeg.output_components;
}

unsigned simsearch_jpeg_rows_left(const struct reader *reader) {
  return reader->jpeg.output_height - reader->jpeg.output_scanline;
}

// Writes the next `count` rows, one behind the other; there must be as many left.
int simsearch_jpeg_rows(struct reader *reader, unsigned char *out, unsigned count) {
  struct jpeg_decompress_struct *jpeg = &reader->jpeg;
  const unsigned long row_len = simsearch_jpeg_row_len(reader);
  if (setjmp(reader->failed))
    return FAILED;
  // As many as the decoder gives at once at most.
  enum { AT_ONCE = 16 };
  const JDIMENSION end = jpeg->output_scanline + count, first = jpeg->output_scanline;
  while (jpeg->output_scanline < end) {
    JSAMPROW rows[AT_ONCE];
    JDIMENSION wanted = end - jpeg->output_scanline;
    if (wanted > AT_ONCE)
      wanted = AT_ONCE;
    for (JDIMENSION row = 0; row < wanted; row++)
      rows[row] = out + (jpeg->output_scanline - first + row) * row_len;
    jpeg_read_scanlines(jpeg, rows, wanted);
  }
  return status(reader);
}

// Behind the last row: reads to the end of the picture.
int simsearch_jpeg_finish(struct reader *reader) {
  if (setjmp(reader->failed))
    return FAILED;
  jpeg_finish_decompress(&reader->jpeg);
  return status(reader);
}
