// A client and a server with the encoders of Go's standard library: HTTP/1.1, HTTP/2, HPACK, gzip and deflate.
// How they are asked and what they print is told in ../src/peers/mod.rs.
package main

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

var printing sync.Mutex

func main() {
	var err error
	switch os.Args[1] {
	case "server":
		err = serve(os.Args[2], os.Args[3])
	case "client":
		err = call(os.Args[2], os.Args[3], os.Args[4], os.Args[5:])
	default:
		err = fmt.Errorf("client or server, not %s", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func tell(what map[string]any) {
	line, err := json.Marshal(what)
	if err != nil {
		panic(err)
	}
	printing.Lock()
	defer printing.Unlock()
	os.Stdout.Write(append(line, '\n'))
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func serve(certificate, key string) error {
	listener, err := net.FileListener(os.Stdin)
	if err != nil {
		return err
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		<-ended
		os.Exit(0)
	}()
	server := http.Server{Handler: http.HandlerFunc(answer)}
	return server.ServeTLS(listener, certificate, key)
}

func answer(response http.ResponseWriter, request *http.Request) {
	asked, err := io.ReadAll(request.Body)
	if err != nil {
		panic(err)
	}
	query := request.URL.Query()
	size, _ := strconv.Atoi(query.Get("size"))
	chunks, _ := strconv.Atoi(query.Get("chunks"))
	text := text(digest(asked), size)
	pieces := [][]byte{text}
	if chunks > 0 {
		pieces = events(text, chunks)
	}
	whole := bytes.Join(pieces, nil)
	tell(map[string]any{
		"path": request.URL.RequestURI(), "request": digest(asked), "request_bytes": len(asked),
		"response": digest(whole), "response_bytes": len(whole),
	})

	header := response.Header()
	header.Set("Content-Type", "application/json")
	if chunks > 0 {
		header.Set("Content-Type", "text/event-stream")
		header.Set("Trailer", "X-Digest")
		// Not known to the final head; a 1xx has fields of its own.
		header.Set("Link", "</hint>; rel=preload")
		response.WriteHeader(http.StatusEarlyHints)
		header.Del("Link")
	}
	var coded bytes.Buffer
	var encoder interface {
		io.WriteCloser
		Flush() error
	}
	switch query.Get("encoding") {
	case "gzip":
		encoder = gzip.NewWriter(&coded)
	case "deflate":
		encoder = zlib.NewWriter(&coded)
	}
	if encoder != nil {
		header.Set("Content-Encoding", query.Get("encoding"))
	}
	for _, piece := range pieces {
		if encoder != nil {
			encoder.Write(piece)
			encoder.Flush()
			piece = coded.Bytes()
		}
		if chunks == 0 && encoder == nil {
			header.Set("Content-Length", strconv.Itoa(len(piece)))
		}
		response.Write(piece)
		coded.Reset()
		if chunks > 0 {
			response.(http.Flusher).Flush()
		}
	}
	if encoder != nil {
		encoder.Close()
		response.Write(coded.Bytes())
	}
	if chunks > 0 {
		header.Set("X-Digest", digest(whole))
	}
}

// Text that no encoder makes small.
func text(seed string, size int) []byte {
	var text []byte
	for number := 0; len(text) < size; number++ {
		text = append(text, digest([]byte(seed+strconv.Itoa(number)))...)
		text = append(text, ' ')
	}
	return text[:size]
}

func events(text []byte, count int) [][]byte {
	var events [][]byte
	for number := 0; number < count; number++ {
		piece := text[number*len(text)/count : (number+1)*len(text)/count]
		events = append(events, []byte(fmt.Sprintf("data: {\"delta\":\"%s\"}\n\n", piece)))
	}
	return events
}

// Over HTTP/2 all calls go out at once, else one after the other on one connection; "at-once" is HTTP/1.1 with a connection
// for each call, "moving-stacks" the same without net/http.
func call(mode, base, authority string, asked []string) error {
	http2 := mode == "http2"
	pem, err := os.ReadFile(authority)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2:     http2,
		DisableCompression:    true,
		ExpectContinueTimeout: time.Minute,
	}
	if !http2 {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	post := overHTTP
	if mode == "at-once" {
		post = func(_ *http.Client, base, path, file string) error {
			alone := &http.Client{Transport: transport.Clone(), Timeout: time.Minute}
			defer alone.CloseIdleConnections()
			return overHTTP(alone, base, path, file)
		}
	}
	if mode == "moving-stacks" {
		post = func(_ *http.Client, base, path, file string) error {
			return overMovingStack(&tls.Config{RootCAs: roots, ServerName: "localhost"}, base, path, file)
		}
		go func() {
			// A collection shrinks stacks that are hardly used.
			for {
				runtime.GC()
			}
		}()
	}
	results := make(chan error, len(asked))
	for ; len(asked) > 0; asked = asked[2:] {
		path, file := asked[0], asked[1]
		one := func() { results <- post(client, base, path, file) }
		if mode != "http1" {
			go one()
		} else {
			one()
		}
	}
	for range make([]struct{}, cap(results)/2) {
		if err := <-results; err != nil {
			return err
		}
	}
	client.CloseIdleConnections()
	return nil
}

func overHTTP(client *http.Client, base, path, file string) error {
	body, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var reader io.Reader = bytes.NewReader(body)
	if strings.Contains(path, "length=unknown") {
		// Hides what it is, and so how long.
		reader = io.MultiReader(reader)
	}
	request, err := http.NewRequest("POST", base+path, reader)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer dummy")
	request.Header.Set("Accept-Encoding", "gzip")
	if strings.Contains(path, "expect=continue") {
		request.Header.Set("Expect", "100-continue")
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	tell(map[string]any{"path": path, "status": response.StatusCode, "http2": response.ProtoMajor == 2})
	return nil
}

// Reads into a buffer on the goroutine's stack, which is moved meanwhile: it grows before, and a collection shrinks it
// while the read waits.
func overMovingStack(config *tls.Config, base, path, file string) error {
	body, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(base, "https://"), config)
	if err != nil {
		return err
	}
	defer conn.Close()
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+
		"Authorization: Bearer dummy\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", path, len(body))
	if _, err := conn.Write(append([]byte(head), body...)); err != nil {
		return err
	}
	var answer []byte
	for err == nil {
		growStack(64)
		answer, err = readOnStack(conn, answer)
	}
	if err != io.EOF {
		return err
	}
	fields := strings.Fields(string(answer[:len("HTTP/1.1 200")]))
	status, err := strconv.Atoi(fields[1])
	if err != nil {
		return err
	}
	tell(map[string]any{"path": path, "status": status, "http2": false})
	return nil
}

//go:noinline
func readOnStack(conn *tls.Conn, answer []byte) ([]byte, error) {
	var buffer [1500]byte
	count, err := conn.Read(buffer[:])
	return append(answer, buffer[:count]...), err
}

//go:noinline
func growStack(depth int) byte {
	var frame [1024]byte
	if depth > 0 {
		frame[depth] = growStack(depth - 1)
	}
	return frame[depth/2]
}
