// SPDX-License-Identifier: GPL-3.0-or-later

// server LOG PORT TINYPORT: Go's net/http that logs what it did, a line of JSON a request. Paths as
// in tests/peers/server.py. What is read and written on TINYPORT goes byte by byte.
package main

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
)

const wsGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

type entry struct {
	Pid     int    `json:"pid"`
	Cport   int    `json:"cport"`
	Sport   int    `json:"sport"`
	Method  string `json:"method"`
	Target  string `json:"target"`
	Status  int    `json:"status"`
	Whole   bool   `json:"whole"`
	ReqBody int64  `json:"req_body"`
	ResBody int64  `json:"res_body"`
	In      *int64 `json:"tunnel_in,omitempty"`
	Out     *int64 `json:"tunnel_out,omitempty"`
}

var (
	logFile *os.File
	block   = strings.Repeat("0123456789abcdef", 4096)
)

func portOf(addr string) int {
	_, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	return n
}

func (e *entry) write() {
	line, _ := json.Marshal(e)
	logFile.Write(append(line, '\n'))
}

// A connection whose reads and writes are of one byte each.
type tiny struct{ net.Conn }

func (t tiny) Read(p []byte) (int, error) {
	if len(p) > 1 {
		p = p[:1]
	}
	return t.Conn.Read(p)
}

func (t tiny) Write(p []byte) (int, error) {
	for i := range p {
		if n, err := t.Conn.Write(p[i : i+1]); err != nil {
			return i + n, err
		}
	}
	return len(p), nil
}

type tinyListener struct{ net.Listener }

func (l tinyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tiny{c}, nil
}

func (e *entry) send(w http.ResponseWriter, status, n int, piece int, flush bool) {
	e.Status = status
	w.WriteHeader(status)
	if e.Method == "HEAD" {
		return
	}
	for n > 0 {
		k := piece
		if n < k {
			k = n
		}
		sent, err := io.WriteString(w, block[:k])
		e.ResBody += int64(sent)
		if err != nil {
			e.Whole = false
			return
		}
		if flush {
			w.(http.Flusher).Flush()
		}
		n -= k
	}
}

// Through user space: splice(2), which Go takes from socket to socket, shows how many bytes there
// were and not which.
func move(to io.Writer, from io.Reader) int64 {
	n, _ := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
	return n
}

func (e *entry) tunnel(r io.Reader, near, far net.Conn) {
	e.In, e.Out = new(int64), new(int64)
	if far == nil {
		*e.In = move(near, r)
		*e.Out = *e.In
		return
	}
	var back sync.WaitGroup
	back.Add(1)
	go func() {
		*e.Out = move(near, far)
		near.(*net.TCPConn).CloseWrite()
		back.Done()
	}()
	*e.In = move(far, r)
	far.(*net.TCPConn).CloseWrite()
	back.Wait()
	far.Close()
}

func (e *entry) takeOver(w http.ResponseWriter, status int, head string, far net.Conn) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	e.Status = status
	io.WriteString(conn, head+"\r\n")
	e.tunnel(rw.Reader, conn, far)
}

func handle(w http.ResponseWriter, r *http.Request) {
	local := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	e := &entry{Pid: os.Getpid(), Cport: portOf(r.RemoteAddr), Sport: portOf(local.String()),
		Method: r.Method, Target: r.RequestURI, Whole: true}
	defer e.write()
	if r.Method == "CONNECT" {
		far, err := net.Dial("tcp", r.RequestURI)
		if err != nil {
			e.send(w, 502, 0, 1, false)
			return
		}
		e.takeOver(w, 200, "HTTP/1.1 200 Connection established\r\n", far)
		return
	}
	got, err := io.Copy(io.Discard, r.Body)
	e.ReqBody = got
	if err != nil {
		e.Whole = false
		return
	}
	answer(w, r, e)
}

func answer(w http.ResponseWriter, r *http.Request, e *entry) {
	parts := strings.Split(r.URL.Path+"//", "/")
	n, _ := strconv.Atoi(parts[2])
	w.Header().Set("Content-Type", "text/plain")
	switch parts[1] {
	case "b":
		w.Header().Set("Content-Length", strconv.Itoa(n))
		e.send(w, 200, n, 65536, false)
	case "chunked":
		e.send(w, 200, n, 8000, true)
	case "drip":
		w.Header().Set("Content-Length", strconv.Itoa(n))
		e.send(w, 200, n, 1, true)
	case "echo":
		text := fmt.Sprintf("%d\n", e.ReqBody)
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		e.Status = 200
		k, _ := io.WriteString(w, text)
		e.ResBody = int64(k)
	case "status":
		if n != 204 && n != 304 {
			w.Header().Set("Content-Length", "0")
		}
		e.send(w, n, 0, 1, false)
	case "bighead":
		for i := 0; i <= n/5000; i++ {
			w.Header().Set(fmt.Sprintf("X-Long-%d", i), block[:5000])
		}
		w.Header().Set("Content-Length", "2")
		e.send(w, 200, 2, 2, false)
	case "ws":
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + wsGUID))
		e.takeOver(w, 101, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"+
			"Connection: Upgrade\r\nSec-WebSocket-Accept: "+
			base64.StdEncoding.EncodeToString(sum[:])+"\r\n", nil)
	default:
		w.Header().Set("Content-Length", "14")
		e.send(w, 404, 14, 14, false)
	}
}

func main() {
	var err error
	logFile, err = os.OpenFile(os.Args[1], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(handle)}
	plainly, err := net.Listen("tcp", "127.0.0.1:"+os.Args[2])
	if err != nil {
		panic(err)
	}
	slowly, err := net.Listen("tcp", "127.0.0.1:"+os.Args[3])
	if err != nil {
		panic(err)
	}
	go srv.Serve(tinyListener{slowly})
	srv.Serve(plainly)
}
