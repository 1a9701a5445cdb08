// Command streams makes two calls a request on Go, where requests and calls each share connections: gRPC
// with grpc-go, or HTTP/2 without TLS with net/http. streams grpc|http PORT BACKEND_PORT
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// call makes the call that is named by a hash, and returns what it was answered.
var call func(ctx context.Context, name string) string

func disguised(ctx context.Context, token string, number int) string {
	text := fmt.Sprintf("%s:%s:%d", os.Getenv("ARENA_KEY"), token, number)
	hash := sha256.Sum256([]byte(text))
	return call(ctx, fmt.Sprintf("%x", hash[:8]))
}

type job struct {
	ctx    context.Context
	token  string
	result chan string
}

var jobs = make(chan job)

func workers() {
	for range 8 {
		go func() {
			for each := range jobs {
				each.result <- direct(each.ctx, each.token)
			}
		}()
	}
}

func direct(ctx context.Context, token string) string {
	return disguised(ctx, token, 1) + disguised(ctx, token, 2)
}

func channel(ctx context.Context, token string) string {
	result := make(chan string)
	jobs <- job{ctx, token, result}
	return <-result
}

func parallel(ctx context.Context, token string) string {
	var group sync.WaitGroup
	var results [2]string
	for i := range results {
		group.Go(func() { results[i] = disguised(ctx, token, i+1) })
	}
	group.Wait()
	return results[0] + results[1]
}

var ways = map[string]func(context.Context, string) string{
	"direct": direct, "channel": channel, "parallel": parallel,
}

// bytes is the codec: messages are what they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "raw" }

// method serves one way; a message is the request's token.
func method(name string) grpc.MethodDesc {
	handler := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var token []byte
		if err := decode(&token); err != nil {
			return nil, err
		}
		body := []byte(ways[name](ctx, string(token)))
		return &body, nil
	}
	return grpc.MethodDesc{MethodName: name, Handler: handler}
}

func serveGrpc(port, backend string) error {
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())
	client, err := grpc.NewClient("127.0.0.1:"+backend, plain, grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err != nil {
		return err
	}
	call = func(ctx context.Context, name string) string {
		var in, out []byte
		if err := client.Invoke(ctx, "/b/"+name, &in, &out); err != nil {
			return err.Error()
		}
		return string(out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.ForceServerCodec(raw{}))
	service := &grpc.ServiceDesc{ServiceName: "arena", HandlerType: (*any)(nil)}
	for name := range ways {
		service.Methods = append(service.Methods, method(name))
	}
	server.RegisterService(service, new(any))
	return server.Serve(listener)
}

func unencrypted() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

func serveHTTP(port, backend string) error {
	client := &http.Client{Transport: &http.Transport{Protocols: unencrypted()}}
	call = func(ctx context.Context, name string) string {
		response, err := client.Get("http://127.0.0.1:" + backend + "/b/" + name)
		if err != nil {
			return err.Error()
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return string(body)
	}
	handle := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, ways[path.Base(r.URL.Path)](r.Context(), r.UserAgent()))
	}
	server := &http.Server{
		Addr: "127.0.0.1:" + port, Protocols: unencrypted(), Handler: http.HandlerFunc(handle),
	}
	return server.ListenAndServe()
}

func main() {
	workers()
	serve := map[string]func(string, string) error{"grpc": serveGrpc, "http": serveHTTP}[os.Args[1]]
	log.Fatal(serve(os.Args[2], os.Args[3]))
}
