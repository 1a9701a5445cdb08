package truth

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"time"
)

// Client keeps connections open; shorter than the servers do, so that none is closed under a call.
var Client = &http.Client{
	Timeout: 10 * time.Second,
	Transport: &http.Transport{
		MaxIdleConns: 64, MaxIdleConnsPerHost: 16, MaxConnsPerHost: 16,
		IdleConnTimeout: 20 * time.Second,
	},
}

// Environment is the port in an environment variable.
func Environment(name string) int {
	port, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		panic(fmt.Sprintf("%s is not a port: %v", name, err))
	}
	return port
}

// Call makes an HTTP call for the request numbered `request`; returns status and body. Status 0
// is a call without an answer.
func Call(ctx context.Context, request int64, method string, port int, path string) (int, string) {
	begun, local := Begin(), 0
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { local = Port(info.Conn.LocalAddr()) },
	})
	status, body := do(ctx, method, fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	begun.Called(request, local, port, method+" "+path, status)
	return status, body
}

func do(ctx context.Context, method, url string) (int, string) {
	call, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, ""
	}
	answer, err := Client.Do(call)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, ""
	}
	return answer.StatusCode, string(body)
}
