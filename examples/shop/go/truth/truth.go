// Package truth writes what this process served and called to a file outside the traffic.
// The format is described in ../../README.md. Lines reach the file within a second.
package truth

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

var (
	mutex   sync.Mutex
	file    *bufio.Writer
	numbers int64
)

// Open starts the file named by the environment variable TRUTH.
func Open(service string) {
	opened, err := os.OpenFile(os.Getenv("TRUTH"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	file = bufio.NewWriterSize(opened, 1<<16)
	write(`{"process":%d,"service":%q,"precision_ns":100000}`, os.Getpid(), service)
	go func() {
		for range time.Tick(500 * time.Millisecond) {
			Flush()
		}
	}()
}

// Flush brings everything to the file.
func Flush() {
	mutex.Lock()
	defer mutex.Unlock()
	file.Flush()
}

// Begun is a request or call with its number, which rises within the process.
type Begun struct {
	Number int64
	at     time.Time
}

// Begin numbers a request or call.
func Begin() Begun {
	return Begun{atomic.AddInt64(&numbers, 1), time.Now()}
}

// Served notes that a request was answered; ports of this and of the other end.
func (b Begun) Served(local, peer int, op string, status int) {
	write(`{"serve":%d,"local":%d,"peer":%d,"begin":%d,"end":%d,"op":%q,"status":%d}`,
		b.Number, local, peer, b.at.UnixNano(), time.Now().UnixNano(), op, status)
}

// Called notes that a call was made for the request numbered `request`.
func (b Begun) Called(request int64, local, peer int, op string, status int) {
	write(`{"call":%d,"for":%d,"local":%d,"peer":%d,"begin":%d,"end":%d,"op":%q,"status":%d}`,
		b.Number, request, local, peer, b.at.UnixNano(), time.Now().UnixNano(), op, status)
}

// Port is the port of an address.
func Port(address net.Addr) int {
	return address.(*net.TCPAddr).Port
}

// Serve answers on PORT of the environment; each handler is given its request's number, and
// returns a status and a JSON text.
func Serve(routes map[string]func(number int64, r *http.Request) (int, string)) error {
	port, err := strconv.Atoi(os.Getenv("PORT"))
	if err != nil {
		return fmt.Errorf("PORT: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	for path, handle := range routes {
		handle := handle
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			begun := Begin()
			_, text, _ := net.SplitHostPort(r.RemoteAddr)
			peer, _ := strconv.Atoi(text)
			status, body := handle(begun.Number, r)
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Peer-Port", text) // for callers that cannot see their own port
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			begun.Served(port, peer, r.Method+" "+r.URL.Path, status)
		})
	}
	return http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", port), mux)
}

func write(format string, values ...any) {
	mutex.Lock()
	defer mutex.Unlock()
	fmt.Fprintf(file, format+"\n", values...)
}
