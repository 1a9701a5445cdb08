package truth

import (
	"context"
	"fmt"
	"net"

	"github.com/redis/go-redis/v9"
)

// Redis is a pool of connections that know their local port: go-redis does not tell which
// connection of its own pool a command took, so each client here has one.
type Redis struct {
	idle chan *redisConn
	port int
}

type redisConn struct {
	*redis.Client
	local int
}

// OpenRedis opens `size` connections.
func OpenRedis(port, size int) (*Redis, error) {
	pool := &Redis{make(chan *redisConn, size), port}
	for i := 0; i < size; i++ {
		conn := &redisConn{}
		conn.Client = redis.NewClient(&redis.Options{
			Addr: fmt.Sprintf("127.0.0.1:%d", port), PoolSize: 1,
			Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
				opened, err := (&net.Dialer{}).DialContext(ctx, network, address)
				if err == nil {
					conn.local = Port(opened.LocalAddr())
				}
				return opened, err
			},
		})
		if err := conn.Ping(context.Background()).Err(); err != nil {
			return nil, err
		}
		pool.idle <- conn
	}
	return pool, nil
}

// Do sends a command for the request numbered `request`.
func (p *Redis) Do(ctx context.Context, request int64, values ...any) *redis.Cmd {
	conn := <-p.idle
	defer func() { p.idle <- conn }()
	begun := Begin()
	answer := conn.Do(ctx, values...)
	begun.Called(request, conn.local, p.port, fmt.Sprint(values[0]), 0)
	return answer
}
