package truth

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/lib/pq"
)

// Postgres is database/sql's pool, which knows the local port of each of its connections.
type Postgres struct {
	*sql.DB
	port int
}

var portOf sync.Map // driver connection -> its local port

// OpenPostgres opens a pool with `size` connections, all of them at once.
func OpenPostgres(port, size int) (*Postgres, error) {
	// binary_parameters: parse, bind and execute in one round trip.
	inner, err := pq.NewConnector(fmt.Sprintf(
		"host=127.0.0.1 port=%d user=shop dbname=shop sslmode=disable binary_parameters=yes", port))
	if err != nil {
		return nil, err
	}
	inner.Dialer(&dialer{})
	db := sql.OpenDB(connector{inner})
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	warm := make([]*sql.Conn, size)
	for i := range warm {
		if warm[i], err = db.Conn(context.Background()); err != nil {
			return nil, err
		}
	}
	for _, conn := range warm {
		conn.Close()
	}
	return &Postgres{db, port}, nil
}

// With lends a connection, with its local port, to `use`.
func (p *Postgres) With(ctx context.Context, use func(conn *sql.Conn, local int) error) error {
	conn, err := p.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	local := 0
	if err := conn.Raw(func(raw any) error {
		if known, ok := portOf.Load(raw); ok {
			local = known.(int)
		}
		return nil
	}); err != nil {
		return err
	}
	return use(conn, local)
}

// Row runs a statement that gives one row, for the request numbered `request`.
func (p *Postgres) Row(ctx context.Context, conn *sql.Conn, local int, request int64, op, text string,
	into any, values ...any) error {
	begun := Begin()
	err := conn.QueryRowContext(ctx, text, values...).Scan(into)
	begun.Called(request, local, p.port, op, 0)
	return err
}

// Exec runs a statement without rows, for the request numbered `request`.
func (p *Postgres) Exec(ctx context.Context, conn *sql.Conn, local int, request int64, op, text string,
	values ...any) error {
	begun := Begin()
	_, err := conn.ExecContext(ctx, text, values...)
	begun.Called(request, local, p.port, op, 0)
	return err
}

type localKey struct{}

type connector struct{ inner *pq.Connector }

func (c connector) Driver() driver.Driver { return c.inner.Driver() }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	local := 0
	conn, err := c.inner.Connect(context.WithValue(ctx, localKey{}, &local))
	if err == nil {
		portOf.Store(conn, local)
	}
	return conn, err
}

// dialer notes the port of the connection that it opens.
type dialer struct{ net.Dialer }

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.Dialer.DialContext(ctx, network, address)
	if local, ok := ctx.Value(localKey{}).(*int); ok && err == nil {
		*local = Port(conn.LocalAddr())
	}
	return conn, err
}

func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout(network, address, timeout)
}
