// One frame of HEVC through libde265. This stands between it and Rust because numbers of a file come as enumerations, which
// may hold any value in C alone.

#include <stdint.h>

#include <libde265/de265.h>

#include "../heif/frame.h"

// A NAL unit, without what tells where it begins; of at most INT_MAX bytes.
struct unit {
  const uint8_t *bytes;
  size_t len;
};

enum { OK = 0, FAILED = -1, OUT_OF_MEMORY = -2 };

void simsearch_hevc_release(void *owner_of_frame) { de265_free_decoder(owner_of_frame); }

static int decode(de265_decoder_context *decoder, const struct unit *units, size_t count, struct frame *frame) {
  de265_error status = DE265_OK;
  for (size_t i = 0; i < count && status == DE265_OK; i++)
    status = de265_push_NAL(decoder, units[i].bytes, (int)units[i].len, 0, NULL);
  if (status == DE265_OK)
    status = de265_flush_data(decoder);
  const struct de265_image *image = NULL;
  for (int more = 1; status == DE265_OK && image == NULL && more;) {
    status = de265_decode(decoder, &more);
    image = de265_peek_next_picture(decoder);
  }
  // Warnings tell of damage too: of a good frame there are none.
  if (status == DE265_OK)
    status = de265_get_warning(decoder);
  if (status == DE265_ERROR_OUT_OF_MEMORY)
    return OUT_OF_MEMORY;
  if (status != DE265_OK || image == NULL)
    return FAILED;
  frame->layout = de265_get_chroma_format(image);
  frame->bits = de265_get_bits_per_pixel(image, 0);
  const int planes = frame->layout == de265_chroma_mono ? 1 : 3;
  for (int plane = 0; plane < planes; plane++) {
    int stride;
    frame->planes[plane] = de265_get_image_plane(image, plane, &stride);
    frame->strides[plane > 0] = stride;
    if (frame->planes[plane] == NULL || de265_get_bits_per_pixel(image, plane) != frame->bits)
      return FAILED;
  }
  frame->width = de265_get_image_width(image, 0);
  frame->height = de265_get_image_height(image, 0);
  frame->primaries = de265_get_image_colour_primaries(image);
  frame->matrix = de265_get_image_matrix_coefficients(image);
  frame->is_full_range = de265_get_image_full_range_flag(image);
  frame->owner = decoder;
  return OK;
}

// Decodes the frame that the units are. After success it is to be released, and its planes live until then.
int simsearch_hevc_decode(const struct unit *units, size_t count, struct frame *frame) {
  // It starts no threads unless it is asked to: the program has a thread for each picture.
  de265_decoder_context *decoder = de265_new_decoder();
  if (decoder == NULL)
    return OUT_OF_MEMORY;
  // A frame that was decoded in part is none.
  de265_set_parameter_bool(decoder, DE265_DECODER_PARAM_SUPPRESS_FAULTY_PICTURES, 1);
  const int result = decode(decoder, units, count, frame);
  if (result != OK)
    de265_free_decoder(decoder);
  return result;
}
