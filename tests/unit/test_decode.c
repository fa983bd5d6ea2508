/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_decode.c: content codings: each of them, nested, cut at every byte, damaged at every byte,
 * bombs, and no memory.
 */
#include "agent/base/mem.h"
#include "agent/decode.h"
#include "tests/lib/tap.h"

#include <zlib.h>
#include <zstd.h>

static long fail_at, allocations;

int osp_mem_test_fail(void);
int osp_mem_test_fail(void)
{
	return ++allocations == fail_at;
}

static const char text[] = "hello hello hello hello, this is a body\n";
#define TEXT_N ((uint32_t)sizeof(text) - 1)
#define BOMB 10000000u

struct bytes {
	char *p;
	uint32_t n;
};

/* Made with brotli 1.0.9 of `text`, and of ten million zeros. */
static const char br_text[] = "\x1b\x27\x00\xf8\x8d\x94\x6e\xc6\x2a\xca\xb0\x32\xb4\x56\x00\x61\x7b\xd3"
			      "\x85\x28\x22\x89\x3c\xf2\x00\x23\x42\xda\x57\x8b\xad\x8a\x09";
static const char br_bomb[] = "\x9f\x7f\x96\x98\xf8\x27\x00\xe2\xb1\x40\x20\xc7\x11\x13";

static struct bytes take(const void *p, size_t n)
{
	struct bytes b = { malloc(n + 1), (uint32_t)n };

	if (!b.p)
		abort();
	memcpy(b.p, p, n);
	return b;
}

static struct bytes by_zlib(const void *p, size_t n, int window)
{
	uint32_t cap = (uint32_t)(n + n / 8 + 256);
	struct bytes b = { malloc(cap), 0 };
	z_stream z = { .next_in = (Bytef *)(uintptr_t)p, .avail_in = (uInt)n,
		       .next_out = (Bytef *)b.p, .avail_out = cap };

	if (!b.p || deflateInit2(&z, 6, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
	    deflate(&z, Z_FINISH) != Z_STREAM_END)
		abort();
	b.n = (uint32_t)z.total_out;
	deflateEnd(&z);
	return b;
}

static struct bytes by_zstd(const void *p, size_t n, int window)
{
	size_t cap = ZSTD_compressBound(n) + 64, r;
	struct bytes b = { malloc(cap), 0 };
	ZSTD_CCtx *cctx = ZSTD_createCCtx();
	ZSTD_outBuffer out = { b.p, cap, 0 };
	ZSTD_inBuffer in = { p, n, 0 };

	if (!b.p || !cctx)
		abort();
	ZSTD_CCtx_setParameter(cctx, ZSTD_c_contentSizeFlag, 0);
	ZSTD_CCtx_setParameter(cctx, ZSTD_c_checksumFlag, 1);
	if (window)
		ZSTD_CCtx_setParameter(cctx, ZSTD_c_windowLog, window);
	/* In two steps: of a size that is known the window would be made to fit. */
	r = ZSTD_compressStream2(cctx, &out, &in, ZSTD_e_continue);
	if (ZSTD_isError(r) || in.pos < n || ZSTD_compressStream2(cctx, &out, &in, ZSTD_e_end))
		abort();
	b.n = (uint32_t)out.pos;
	ZSTD_freeCCtx(cctx);
	return b;
}

static struct bytes by_coding(int coding, const void *p, size_t n)
{
	return coding == OSP_CODING_GZIP ? by_zlib(p, n, 15 + 16) :
	       coding == OSP_CODING_DEFLATE ? by_zlib(p, n, 15) :
	       coding == OSP_CODING_ZSTD ? by_zstd(p, n, 0) :
	       n == TEXT_N ? take(br_text, sizeof(br_text) - 1) : take(br_bomb, sizeof(br_bomb) - 1);
}

static bool built_in(int coding)
{
	return coding != OSP_CODING_BR || OSP_HAVE_BROTLI;
}

static struct osp_decoder *decoder(uint32_t limit)
{
	struct osp_decoder *dec;

	if (osp_decoder_new(&dec, limit))
		abort();
	return dec;
}

static struct osp_decoded decode(struct osp_decoder *dec, const char *codings, const char *p,
				 uint32_t n, bool whole)
{
	struct osp_decoded d;

	osp_decode(dec, OSP_RES, osp_slice(codings, strlen(codings)), osp_slice(p, n), whole, &d);
	return d;
}

static bool is_text(const struct osp_decoded *d)
{
	return d->how == OSP_DEC_DONE && d->data.n == TEXT_N && !memcmp(d->data.p, text, TEXT_N);
}

/* ---- each coding ----------------------------------------------------------------------------- */

static void test_whole(struct osp_decoder *dec, int coding, struct bytes b)
{
	const char *name = osp_coding_name(coding);
	struct osp_decoded d = decode(dec, name, b.p, b.n, true);

	ok(is_text(&d) && !d.cut && !d.odd && d.coding_n == 1 && d.coding[0] == coding, "%s", name);
	b.p[b.n] = 'x';	/* take() and the encoders left room */
	d = decode(dec, name, b.p, b.n + 1, true);
	ok(is_text(&d) && d.odd, "%s, and a byte behind it", name);
}

/* What is not all there gives the beginning of what it stands for, and never anything else. */
static void test_cut(struct osp_decoder *dec, int coding, struct bytes b)
{
	const char *name = osp_coding_name(coding);
	uint32_t n, bad = 0, odd = 0, most = 0;

	for (n = 1; n < b.n; n++) {
		struct bytes part = take(b.p, n);	/* of its own: reads beyond are seen */
		struct osp_decoded d = decode(dec, name, part.p, n, false);

		bad += d.how != OSP_DEC_DONE || d.odd || d.data.n > TEXT_N ||
		       memcmp(d.data.p, text, d.data.n);
		most = d.data.n > most ? d.data.n : most;
		d = decode(dec, name, part.p, n, true);
		odd += d.how == OSP_DEC_DONE && d.odd;
		free(part.p);
	}
	eq_int(bad, 0, "%s cut at each of %u bytes: a beginning", name, b.n);
	eq_int(odd, b.n - 1, "%s that ends too early is told", name);
	ok(most > 0, "%s: something came out", name);
}

static void test_damage(struct osp_decoder *dec, int coding, struct bytes b)
{
	const char *name = osp_coding_name(coding);
	uint32_t i, bad = 0, refused = 0, bit;

	for (i = 0; i < b.n; i++)
	for (bit = 0; bit < 8; bit++) {
		struct osp_decoded d;

		b.p[i] ^= (char)(1 << bit);
		d = decode(dec, name, b.p, b.n, true);
		refused += d.how == OSP_DEC_BAD;
		bad += d.how != OSP_DEC_BAD && d.how != OSP_DEC_DONE;
		bad += d.how == OSP_DEC_BAD && (d.coding_n || d.data.n);
		b.p[i] ^= (char)(1 << bit);
	}
	ok(!bad && refused > b.n, "%s with a bit turned: %u of %u refused", name, refused, 8 * b.n);
}

static void test_bomb(int coding, const char *zeros)
{
	struct bytes b = by_coding(coding, zeros, BOMB);
	struct osp_decoder *dec = decoder(1000);
	const char *name = osp_coding_name(coding);
	struct osp_decoded d = decode(dec, name, b.p, b.n, true);

	ok(b.n < BOMB / 500 && d.how == OSP_DEC_DONE && d.cut && !d.odd && d.data.n == 1000 &&
	   !memcmp(d.data.p, zeros, 1000), "%s: ten million zeros out of %u bytes end at 1000", name, b.n);
	osp_decoder_free(dec);
	dec = decoder(BOMB);
	d = decode(dec, name, b.p, b.n, true);
	ok(d.how == OSP_DEC_DONE && !d.cut && d.data.n == BOMB && !memcmp(d.data.p, zeros, BOMB),
	   "%s: all of them where so many are asked for", name);
	osp_decoder_relax(dec);
	osp_decoder_free(dec);
	free(b.p);
}

static void test_codings(const char *zeros)
{
	struct osp_decoder *dec = decoder(1000);
	struct bytes b;
	int i;

	for (i = 1; i < OSP_CODING_MAX; i++) {
		if (!built_in(i))
			continue;
		b = by_coding(i, text, TEXT_N);
		test_whole(dec, i, b);
		test_cut(dec, i, b);
		test_damage(dec, i, b);
		free(b.p);
		test_bomb(i, zeros);
	}
	osp_decoder_free(dec);
}

/* ---- what is special ------------------------------------------------------------------------- */

static void test_names(void)
{
	struct osp_decoder *dec = decoder(1000);
	struct bytes b = by_zlib(text, TEXT_N, 15 + 16);
	struct osp_decoded d = decode(dec, " ,identity,\tGZip ,,", b.p, b.n, true);

	ok(is_text(&d) && d.coding_n == 1, "lists with blanks and empty elements, any case, identity");
	d = decode(dec, "x-gzip", b.p, b.n, true);
	ok(is_text(&d) && d.coding[0] == OSP_CODING_GZIP, "x-gzip is gzip");
	d = decode(dec, "identity", b.p, b.n, true);
	ok(d.how == OSP_DEC_NONE, "identity alone is nothing to take off");
	d = decode(dec, "compress", b.p, b.n, true);
	ok(d.how == OSP_DEC_UNKNOWN && !d.coding_n, "a coding that we do not have");
	d = decode(dec, "gzip, utf-8", b.p, b.n, true);
	ok(d.how == OSP_DEC_UNKNOWN && !d.coding_n, "... or that is none");
	d = decode(dec, "gzip,gzip,gzip,gzip", b.p, b.n, true);
	ok(d.how == OSP_DEC_UNKNOWN, "more than %d", OSP_CODINGS_MAX);
	free(b.p);
	osp_decoder_free(dec);
}

static void test_nested(const char *zeros)
{
	struct osp_decoder *dec = decoder(1000);
	struct bytes one = by_zlib(text, TEXT_N, 15 + 16), two = by_zstd(one.p, one.n, 0),
		     three = by_zlib(two.p, two.n, 15);
	struct osp_decoded d = decode(dec, "gzip, zstd", two.p, two.n, true);

	ok(is_text(&d) && d.coding_n == 2 && d.coding[1] == OSP_CODING_ZSTD && !d.odd, "two codings");
	d = decode(dec, "gzip,zstd,deflate", three.p, three.n, true);
	ok(is_text(&d) && d.coding_n == 3, "three codings");
	d = decode(dec, "zstd, gzip", two.p, two.n, true);
	ok(d.how == OSP_DEC_BAD, "the wrong order");
	d = decode(dec, "gzip, zstd", two.p, two.n - 5, false);
	ok(d.how == OSP_DEC_DONE && !d.odd && d.data.n <= TEXT_N, "two codings, cut");
	free(three.p);
	free(two.p);
	free(one.p);
	one = by_zlib(zeros, BOMB, 15 + 16);
	two = by_zlib(one.p, one.n, 15 + 16);
	d = decode(dec, "gzip,gzip", two.p, two.n, true);
	ok(d.how == OSP_DEC_DONE && d.cut && d.data.n == 1000, "a bomb in a bomb (%u bytes)", two.n);
	free(two.p);
	free(one.p);
	osp_decoder_free(dec);
}

static struct bytes twice(struct bytes b)
{
	struct bytes r = { malloc(2 * b.n + 1), 2 * b.n };

	if (!r.p)
		abort();
	memcpy(r.p, b.p, b.n);
	memcpy(r.p + b.n, b.p, b.n);
	return r;
}

static void test_pieces(void)
{
	static const int coding[] = { OSP_CODING_GZIP, OSP_CODING_ZSTD };
	struct osp_decoder *dec = decoder(1000);
	struct osp_decoded d;
	uint32_t i;

	for (i = 0; i < 2; i++) {
		struct bytes b = by_coding(coding[i], text, TEXT_N), bb = twice(b);

		d = decode(dec, osp_coding_name(coding[i]), bb.p, bb.n, true);
		ok(d.how == OSP_DEC_DONE && !d.odd && d.data.n == 2 * TEXT_N &&
		   !memcmp(d.data.p + TEXT_N, text, TEXT_N), "%s: two pieces are one body",
		   osp_coding_name(coding[i]));
		d = decode(dec, osp_coding_name(coding[i]), bb.p, bb.n - 3, true);
		ok(d.how == OSP_DEC_DONE && d.odd, "... the second cut");
		free(bb.p);
		free(b.p);
	}
	osp_decoder_free(dec);
}

static void test_odd_ones(void)
{
	struct osp_decoder *dec = decoder(1 << 20);
	struct bytes b = by_zlib(text, TEXT_N, -15);
	struct osp_decoded d = decode(dec, "deflate", b.p, b.n, true);
	static const char stored[] = "\x78\x01\x00\xfe\xff" "a" "\x01\x00\x00\xff\xff";
	static char noise[100000];
	uint32_t i;

	ok(is_text(&d), "deflate without zlib's wrapper");
	free(b.p);
	/* A stored block of one byte, the unused bits of its header set as zlib's would be. */
	d = decode(dec, "deflate", stored, sizeof(stored) - 1, true);
	ok(d.how == OSP_DEC_DONE && d.data.n == 1 && *d.data.p == 'a', "... that looks as if it had it");
	d = decode(dec, "zstd", "\x27\xb5\x2f\xfd\x04\x5c\x6a\x46\xed", 9, true);
	ok(d.how == OSP_DEC_BAD, "zstd as it was before its standard");
	for (i = 0; i < sizeof(noise); i++)
		noise[i] = (char)(i * 2654435761u >> 13);
	b = by_zstd(noise, sizeof(noise), 24);
	d = decode(dec, "zstd", b.p, b.n, true);
	ok(d.how == OSP_DEC_BAD, "zstd with a window of 16 MiB is beyond RFC 9659");
	free(b.p);
	b = by_zstd(noise, sizeof(noise), 23);
	d = decode(dec, "zstd", b.p, b.n, true);
	ok(d.how == OSP_DEC_DONE && d.data.n == sizeof(noise), "... one of 8 MiB is not");
	free(b.p);
	osp_decoder_free(dec);
}

static void test_limit(void)
{
	struct bytes b = by_zlib(text, TEXT_N, 15 + 16);
	struct osp_decoder *dec = decoder(TEXT_N);
	struct osp_decoded d = decode(dec, "gzip", b.p, b.n, true);

	ok(is_text(&d) && !d.cut && !d.odd, "as much as the limit is not cut");
	osp_decoder_free(dec);
	dec = decoder(TEXT_N - 1);
	d = decode(dec, "gzip", b.p, b.n, true);
	ok(d.how == OSP_DEC_DONE && d.cut && !d.odd && d.data.n == TEXT_N - 1, "a byte more is");
	osp_decoder_free(dec);
	free(b.p);
}

/* Every allocation that is ours fails once. zstd's own are not. */
static void test_nomem(void)
{
	static const char *const list[] = { "gzip", "deflate", "br", "zstd" };
	uint32_t bad = 0, nomem = 0, i;
	long n;

	for (n = 1; n < 200; n++) {
		struct osp_decoder *dec = NULL;

		fail_at = n;
		allocations = 0;
		if (osp_decoder_new(&dec, 1000))
			continue;
		for (i = 0; i < 4; i++) {
			struct bytes b = by_coding(i == 0 ? OSP_CODING_GZIP : i == 1 ? OSP_CODING_DEFLATE :
						   i == 2 ? OSP_CODING_BR : OSP_CODING_ZSTD, text, TEXT_N);
			struct osp_decoded d = decode(dec, list[i], b.p, b.n, true);

			nomem += d.how == OSP_DEC_NOMEM;
			bad += !is_text(&d) && d.how != OSP_DEC_NOMEM && d.how != OSP_DEC_UNKNOWN;
			free(b.p);
		}
		osp_decoder_free(dec);
		if (allocations < n)
			break;
	}
	fail_at = 0;
	ok(!bad && nomem >= 2, "each of %ld allocations fails once: decoded, or told why not (%u)",
	   n - 1, nomem);
}

int main(void)
{
	char *zeros = calloc(1, BOMB);

	if (!zeros)
		abort();
	test_codings(zeros);
	test_names();
	test_nested(zeros);
	test_pieces();
	test_odd_ones();
	test_limit();
	test_nomem();
	free(zeros);
	return done();
}
