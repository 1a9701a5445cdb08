// A gRPC server with the methods of grpc_server.py: PORT [CERTIFICATE KEY]. Messages are bytes without a schema.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

type plain struct{}

func (plain) Name() string { return "proto" }
func (plain) Marshal(v any) ([]byte, error) {
	return *v.(*[]byte), nil
}
func (plain) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func serve(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	total, request := 0, []byte{}
	for {
		err := stream.RecvMsg(&request)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		total += len(request)
	}
	say := func(answer string) error {
		bytes := []byte(answer)
		return stream.SendMsg(&bytes)
	}
	switch method {
	case "/shop.Orders/Get":
		return say("order " + string(request))
	case "/shop.Orders/Items":
		for number := 0; number < 5; number++ {
			if err := say(fmt.Sprintf("item %d of %s", number, request)); err != nil {
				return err
			}
		}
		return nil
	case "/shop.Orders/Total":
		return say(fmt.Sprint(total))
	}
	return status.Error(codes.NotFound, "no such order")
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	options := []grpc.ServerOption{grpc.ForceServerCodec(plain{}), grpc.UnknownServiceHandler(serve)}
	if len(os.Args) > 3 {
		pair, err := credentials.NewServerTLSFromFile(os.Args[2], os.Args[3])
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, grpc.Creds(pair))
	}
	server := grpc.NewServer(options...)
	log.Fatal(server.Serve(listener))
}
