// SPDX-License-Identifier: GPL-3.0-or-later
//
// java Server.java LOG PORT: the JDK's own HTTP server that logs what it did, a line of JSON a
// request. Paths as in tests/peers/server.py; it knows no upgrade and no CONNECT.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.Executors;

public class Server {
	private static final byte[] BLOCK = new byte[65536];
	private static FileOutputStream log;

	private final HttpExchange x;
	private long got, sent;
	private int status;

	private Server(HttpExchange x) {
		this.x = x;
	}

	private void note(boolean whole) throws IOException {
		String line = String.format("{\"pid\":%d,\"whole\":%b,\"cport\":%d,\"sport\":%d,"
			+ "\"method\":\"%s\",\"target\":\"%s\",\"status\":%d,\"req_body\":%d,"
			+ "\"res_body\":%d}%n", ProcessHandle.current().pid(), whole,
			x.getRemoteAddress().getPort(), x.getLocalAddress().getPort(),
			x.getRequestMethod(), x.getRequestURI(), status, got, sent);
		synchronized (log) {
			log.write(line.getBytes(StandardCharsets.UTF_8));
		}
	}

	private void begin(int code, long length) throws IOException {
		boolean head = x.getRequestMethod().equals("HEAD");
		status = code;
		if (head && length > 0)		// otherwise it would be taken for a body to come
			x.getResponseHeaders().set("Content-Length", Long.toString(length));
		x.sendResponseHeaders(code, head || length == 0 ? -1 : length < 0 ? 0 : length);
	}

	private void data(int n, int piece) throws IOException {
		if (x.getRequestMethod().equals("HEAD"))
			return;
		OutputStream out = x.getResponseBody();
		for (int left = n; left > 0; left -= piece) {
			int k = Math.min(left, piece);
			out.write(BLOCK, 0, k);
			if (piece < 10000)
				out.flush();
			sent += k;
		}
		out.close();
	}

	private void answer(String what, int n) throws IOException {
		switch (what) {
		case "b": begin(200, n); data(n, 65536); break;
		case "chunked": begin(200, -1); data(n, 8000); break;
		case "drip": begin(200, n); data(n, 1); break;
		case "status": begin(n, 0); break;
		case "echo":
			byte[] text = (got + "\n").getBytes(StandardCharsets.UTF_8);
			begin(200, text.length);
			data(text.length, text.length);
			break;
		case "bighead":
			for (int i = 0; i <= n / 5000; i++)
				x.getResponseHeaders().set("X-Long-" + i, "v".repeat(5000));
			begin(200, 2);
			data(2, 2);
			break;
		default: begin(404, 14); data(14, 14);
		}
	}

	private void handle() throws IOException {
		boolean whole = false;
		try (x; InputStream in = x.getRequestBody()) {
			String[] parts = (x.getRequestURI().getPath() + "//").split("/", 4);
			String digits = parts[2].replaceAll("[^0-9]", "");
			got = in.transferTo(OutputStream.nullOutputStream());
			answer(parts[1], digits.isEmpty() ? 0 : Integer.parseInt(digits));
			whole = true;
		} finally {
			note(whole);
		}
	}

	public static void main(String[] args) throws IOException {
		Arrays.fill(BLOCK, (byte) 'x');
		log = new FileOutputStream(args[0], true);
		HttpServer server = HttpServer.create(
			new InetSocketAddress("127.0.0.1", Integer.parseInt(args[1])), 128);
		// One thread, so that a connection's lines are in the order of its requests.
		server.setExecutor(Executors.newSingleThreadExecutor());
		server.createContext("/", x -> new Server(x).handle());
		server.start();
	}
}
