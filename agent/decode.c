/* SPDX-License-Identifier: GPL-3.0-or-later */
/* decode.c: content codings taken off a body that was kept (--decode).
 *
 * All decoders are driven by one loop over input and output; each of them only has to begin and to
 * move some bytes. Decoding is all or nothing: a body is either what its sender meant, as far as it
 * was kept, or the bytes that were sent.
 */
#include "agent/decode.h"

#include "agent/base/mem.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>
#if OSP_HAVE_BROTLI
#include <brotli/decode.h>
#endif

#define ZLIB_WINDOW 15			/* 32 KiB, the largest; + 16: gzip's header. inflateInit2() */
#define GZIP_WRAPPER (ZLIB_WINDOW + 16)
#define ZSTD_WINDOW_LOG 23		/* RFC 9659 3.1: 8 MiB is all a recipient need take */
/* Window (2^24) and the decoder's tables, which take some 100 KiB. */
#define BROTLI_MEMORY (17u << 20)
#define OUT_MIN 4096u
/* Larger buffers are not kept from one record to the next. */
#define OUT_KEPT (1u << 20)

struct out {
	char *p;
	uint32_t n, cap;
};

struct osp_decoder {
	uint32_t limit;
	struct out out[OSP_ENDS];	/* results */
	struct out between;		/* of nested codings */
	z_stream z;
	bool z_ready;
	ZSTD_DCtx *zstd;
#if OSP_HAVE_BROTLI
	BrotliDecoderState *br;
	size_t br_used;
	bool br_nomem;
#endif
};

/* What a decoder says when it has moved some bytes: 0: go on, 1: the coding has ended,
 * -EBADMSG, -ENOMEM.
 */
struct codec {
	const char *name, *alias;
	int (*begin)(struct osp_decoder *dec, struct osp_slice in);
	int (*move)(struct osp_decoder *dec, struct osp_slice *in, struct out *out);
	/* Whether what stands behind an end is another piece, to be joined; it has been begun. */
	bool (*again)(struct osp_decoder *dec, struct osp_slice in);
};

/* ---- gzip, deflate --------------------------------------------------------------------------- */

static voidpf z_alloc(voidpf ctx, uInt items, uInt size)
{
	return osp_mem_zalloc((size_t)items * size);
}

static void z_free(voidpf ctx, voidpf p)
{
	osp_mem_free(p);
}

static int z_begin(struct osp_decoder *dec, int window)
{
	return inflateReset2(&dec->z, window) == Z_OK ? 0 : -ENOMEM;
}

static int gzip_begin(struct osp_decoder *dec, struct osp_slice in)
{
	return z_begin(dec, GZIP_WRAPPER);
}

/* RFC 1950 2.2: method 8, a window of at most 32 KiB, and a multiple of 31. */
static bool is_zlib(struct osp_slice in)
{
	const uint8_t *p = (const uint8_t *)in.p;

	return in.n && (p[0] & 15) == 8 && p[0] >> 4 <= 7 && (in.n < 2 || !((p[0] << 8 | p[1]) % 31));
}

/* "deflate" means the zlib format; some send it without (RFC 9110 8.4.1.2). */
static int deflate_begin(struct osp_decoder *dec, struct osp_slice in)
{
	return z_begin(dec, is_zlib(in) ? ZLIB_WINDOW : -ZLIB_WINDOW);
}

static int raw_begin(struct osp_decoder *dec, struct osp_slice in)
{
	return z_begin(dec, -ZLIB_WINDOW);
}

static int z_move(struct osp_decoder *dec, struct osp_slice *in, struct out *out)
{
	z_stream *z = &dec->z;
	int r;

	z->next_in = (Bytef *)(uintptr_t)in->p;
	z->avail_in = in->n;
	z->next_out = (Bytef *)out->p + out->n;
	z->avail_out = out->cap - out->n;
	r = inflate(z, Z_NO_FLUSH);
	in->p += in->n - z->avail_in;
	in->n = z->avail_in;
	out->n = out->cap - z->avail_out;
	if (r == Z_STREAM_END)
		return 1;
	return r == Z_OK || r == Z_BUF_ERROR ? 0 : r == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
}

/* A gzip file is a series of members (RFC 1952 2.2). */
static bool gzip_again(struct osp_decoder *dec, struct osp_slice in)
{
	return in.n >= 2 && !memcmp(in.p, "\x1f\x8b", 2) && !z_begin(dec, GZIP_WRAPPER);
}

/* ---- zstd ------------------------------------------------------------------------------------ */

/* Frames and skippable frames (RFC 8878 3.1), as far as n bytes tell. libzstd would also read
 * formats of its own from before there was a standard.
 */
static bool is_zstd(struct osp_slice in)
{
	const uint8_t *p = (const uint8_t *)in.p;
	size_t n = in.n < 4 ? in.n : 4;

	return !memcmp(p, "\x28\xb5\x2f\xfd", n) ||
	       (p[0] >> 4 == 5 && !memcmp(p + 1, "\x2a\x4d\x18", n - 1));
}

static int zstd_begin(struct osp_decoder *dec, struct osp_slice in)
{
	if (!is_zstd(in))
		return -EBADMSG;
	return ZSTD_isError(ZSTD_DCtx_reset(dec->zstd, ZSTD_reset_session_only)) ? -ENOMEM : 0;
}

static int zstd_move(struct osp_decoder *dec, struct osp_slice *in, struct out *out)
{
	ZSTD_inBuffer zin = { in->p, in->n, 0 };
	ZSTD_outBuffer zout = { out->p, out->cap, out->n };
	size_t r = ZSTD_decompressStream(dec->zstd, &zout, &zin);

	in->p += zin.pos;
	in->n -= (uint32_t)zin.pos;
	out->n = (uint32_t)zout.pos;
	if (ZSTD_isError(r))
		return ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation ? -ENOMEM : -EBADMSG;
	return !r;
}

/* Frames follow each other. */
static bool zstd_again(struct osp_decoder *dec, struct osp_slice in)
{
	return in.n >= 4 && is_zstd(in);
}

/* ---- br -------------------------------------------------------------------------------------- */

static bool never_again(struct osp_decoder *dec, struct osp_slice in)
{
	return false;
}

#if OSP_HAVE_BROTLI
/* Each block is preceded by its size, so that the sum is known. */
#define BR_HEAD 16

static void *br_alloc(void *ctx, size_t n)
{
	struct osp_decoder *dec = ctx;
	char *p = NULL;

	if (n <= BROTLI_MEMORY - BR_HEAD && dec->br_used <= BROTLI_MEMORY - BR_HEAD - n)
		p = osp_mem_realloc(NULL, n + BR_HEAD);
	if (!p) {
		dec->br_nomem = true;
		return NULL;
	}
	dec->br_used += n;
	memcpy(p, &n, sizeof(n));
	return p + BR_HEAD;
}

static void br_free(void *ctx, void *p)
{
	struct osp_decoder *dec = ctx;
	size_t n;

	if (!p)
		return;
	memcpy(&n, (char *)p - BR_HEAD, sizeof(n));
	dec->br_used -= n;
	osp_mem_free((char *)p - BR_HEAD);
}

/* There is no starting anew: a decoder is for one stream. */
static int br_begin(struct osp_decoder *dec, struct osp_slice in)
{
	dec->br_nomem = false;
	dec->br = BrotliDecoderCreateInstance(br_alloc, br_free, dec);
	return dec->br ? 0 : -ENOMEM;
}

static int br_move(struct osp_decoder *dec, struct osp_slice *in, struct out *out)
{
	size_t left = in->n, room = out->cap - out->n;
	const uint8_t *from = (const uint8_t *)in->p;
	uint8_t *to = (uint8_t *)out->p + out->n;
	BrotliDecoderResult r;

	r = BrotliDecoderDecompressStream(dec->br, &left, &from, &room, &to, NULL);
	in->p = (const char *)from;
	in->n = (uint32_t)left;
	out->n = out->cap - (uint32_t)room;
	if (r == BROTLI_DECODER_RESULT_ERROR)
		return dec->br_nomem ? -ENOMEM : -EBADMSG;
	return r == BROTLI_DECODER_RESULT_SUCCESS;
}

static void br_end(struct osp_decoder *dec)
{
	if (dec->br)
		BrotliDecoderDestroyInstance(dec->br);
	dec->br = NULL;
}
#else
static void br_end(struct osp_decoder *dec)
{
}
#endif

/* ---- one coding ------------------------------------------------------------------------------ */

static const struct codec codecs[OSP_CODING_MAX] = {
	[OSP_CODING_GZIP] = { "gzip", "x-gzip", gzip_begin, z_move, gzip_again },
	[OSP_CODING_DEFLATE] = { "deflate", NULL, deflate_begin, z_move, never_again },
#if OSP_HAVE_BROTLI
	[OSP_CODING_BR] = { "br", NULL, br_begin, br_move, never_again },
#endif
	[OSP_CODING_ZSTD] = { "zstd", NULL, zstd_begin, zstd_move, zstd_again },
};
static const struct codec raw_deflate = { "deflate", NULL, raw_begin, z_move, never_again };

/* One byte more than may come out: it tells "just full" from "too much". */
static int grow(const struct osp_decoder *dec, struct out *out, uint64_t want)
{
	uint64_t cap = out->cap ? 2ull * out->cap : OUT_MIN, max = dec->limit + 1ull;
	char *p;

	cap = cap > want ? cap : want;
	cap = cap < max ? cap : max;
	if (cap <= out->cap)
		return -EOVERFLOW;
	p = osp_mem_realloc(out->p, cap);
	if (!p)
		return -ENOMEM;
	out->p = p;
	out->cap = (uint32_t)cap;
	return 0;
}

/* 0: ended, 1: the input ended before, -EOVERFLOW: the limit was reached; -EBADMSG, -ENOMEM. */
static int drive(struct osp_decoder *dec, const struct codec *codec, struct osp_slice in,
		 struct out *out, bool *odd)
{
	int r = codec->begin(dec, in);

	while (!r) {
		if (out->n == out->cap)
			r = grow(dec, out, 0);
		if (r)
			break;
		r = codec->move(dec, &in, out);
		if (r > 0) {
			r = in.n && codec->again(dec, in) ? 0 : 1;
			*odd = in.n;
			if (r)
				return 0;
		} else if (!r && out->n < out->cap) {
			/* All that could be made is made: of what is left nothing can be. */
			return in.n ? -EBADMSG : 1;
		}
	}
	return r;
}

static int one_coding(struct osp_decoder *dec, int coding, struct osp_slice in, struct out *out,
		      bool *odd)
{
	int r;

	out->n = 0;
	*odd = false;
	if (!out->cap) {
		r = grow(dec, out, 4ull * in.n);
		if (r)
			return r;
	}
	r = drive(dec, &codecs[coding], in, out, odd);
	br_end(dec);
	if (r != -EBADMSG || coding != OSP_CODING_DEFLATE || !is_zlib(in))
		return r;
	/* It may have looked like zlib's header by chance. */
	out->n = 0;
	return drive(dec, &raw_deflate, in, out, odd);
}

/* ---- all codings ----------------------------------------------------------------------------- */

static int coding_of(struct osp_slice s)
{
	int i;

	for (i = 1; i < OSP_CODING_MAX; i++) {
		const struct codec *c = &codecs[i];

		if (!c->name)
			continue;
		if ((s.n == strlen(c->name) && !strncasecmp(s.p, c->name, s.n)) ||
		    (c->alias && s.n == strlen(c->alias) && !strncasecmp(s.p, c->alias, s.n)))
			return i;
	}
	return 0;
}

static struct osp_slice element(struct osp_slice *rest)
{
	const char *comma = memchr(rest->p, ',', rest->n);
	struct osp_slice s = osp_slice(rest->p, comma ? (size_t)(comma - rest->p) : rest->n);

	rest->n -= comma ? s.n + 1 : s.n;
	rest->p += comma ? s.n + 1 : s.n;
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.n--;
	}
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

/* -ENOTSUP: one of them is not known here, or they are too many to be meant. */
static int parse_codings(struct osp_slice list, struct osp_decoded *out)
{
	struct osp_slice s;
	int coding;

	while (list.n) {
		s = element(&list);
		if (!s.n || (s.n == 8 && !strncasecmp(s.p, "identity", 8)))
			continue;
		coding = coding_of(s);
		if (!coding || out->coding_n == OSP_CODINGS_MAX)
			return -ENOTSUP;
		out->coding[out->coding_n++] = (uint8_t)coding;
	}
	return 0;
}

/* The coding that was applied last stands last, and is taken off first. */
static int all_codings(struct osp_decoder *dec, int end, struct osp_slice in, bool whole,
		       struct osp_decoded *res)
{
	struct out *out;
	bool odd = false;
	int i, r;

	for (i = res->coding_n - 1; i >= 0; i--) {
		out = i % 2 ? &dec->between : &dec->out[end];
		r = one_coding(dec, res->coding[i], in, out, &odd);
		if (r < 0 && r != -EOVERFLOW)
			return r;
		if (out->n > dec->limit) {
			out->n = dec->limit;
			res->cut = true;
			whole = false;
		}
		res->odd |= whole && (r == 1 || odd);
		whole = whole && !r;
		in = osp_slice(out->p, out->n);
	}
	res->data = in;
	return 0;
}

void osp_decode(struct osp_decoder *dec, int end, struct osp_slice codings, struct osp_slice in,
		bool whole, struct osp_decoded *out)
{
	int r;

	memset(out, 0, sizeof(*out));
	r = parse_codings(codings, out);
	if (!r && !out->coding_n)
		return;
	if (!r)
		r = all_codings(dec, end, in, whole, out);
	out->how = !r ? OSP_DEC_DONE : r == -ENOTSUP ? OSP_DEC_UNKNOWN :
		   r == -ENOMEM ? OSP_DEC_NOMEM : OSP_DEC_BAD;
	if (r) {
		out->coding_n = 0;
		out->cut = out->odd = false;
	}
}

/* ---- life ------------------------------------------------------------------------------------ */

const char *osp_decoder_codings(void)
{
	return OSP_HAVE_BROTLI ? "gzip deflate br zstd" : "gzip deflate zstd";
}

static void relax(struct out *out, uint32_t keep)
{
	if (out->cap <= keep)
		return;
	osp_mem_free(out->p);
	*out = (struct out){ NULL, 0, 0 };
}

void osp_decoder_relax(struct osp_decoder *dec)
{
	int i;

	if (!dec)
		return;
	for (i = 0; i < OSP_ENDS; i++)
		relax(&dec->out[i], OUT_KEPT);
	relax(&dec->between, OUT_KEPT);
}

void osp_decoder_free(struct osp_decoder *dec)
{
	int i;

	if (!dec)
		return;
	for (i = 0; i < OSP_ENDS; i++)
		relax(&dec->out[i], 0);
	relax(&dec->between, 0);
	if (dec->z_ready)
		inflateEnd(&dec->z);
	ZSTD_freeDCtx(dec->zstd);
	osp_mem_free(dec);
}

int osp_decoder_new(struct osp_decoder **out, uint32_t limit)
{
	struct osp_decoder *dec = osp_mem_zalloc(sizeof(*dec));
	int err = -ENOMEM;

	if (!dec)
		goto out;
	dec->limit = limit < UINT32_MAX ? limit : UINT32_MAX - 1;
	dec->z.zalloc = z_alloc;
	dec->z.zfree = z_free;
	dec->z_ready = inflateInit2(&dec->z, GZIP_WRAPPER) == Z_OK;
	dec->zstd = ZSTD_createDCtx();
	if (!dec->z_ready || !dec->zstd ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(dec->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG)))
		goto out;
	*out = dec;
	dec = NULL;
	err = 0;
out:
	osp_decoder_free(dec);
	return err;
}
