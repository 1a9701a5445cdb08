// ledger: books payments in PostgreSQL, in a transaction.
package main

import (
	"context"
	"database/sql"
	"log"
	"net/http"
	"strings"

	"deeptrace.example/shop/truth"
)

var postgres *truth.Postgres

func main() {
	truth.Open("ledger")
	var err error
	if postgres, err = truth.OpenPostgres(truth.Environment("POSTGRES_PORT"), 4); err != nil {
		log.Fatal(err)
	}
	truth.Run(map[string]func(int64, *http.Request) (int, string){"/bookings/": book})
}

func book(number int64, r *http.Request) (int, string) {
	account := strings.TrimPrefix(r.URL.Path, "/bookings/")
	err := postgres.With(r.Context(), func(conn *sql.Conn, local int) error {
		return transaction(r.Context(), conn, local, number, account)
	})
	if err != nil {
		log.Print(err)
		return http.StatusInternalServerError, `{"error":"database"}`
	}
	return http.StatusOK, `{"booked":true}`
}

// transaction is spelled out, statement by statement, so that each is in the truth.
func transaction(ctx context.Context, conn *sql.Conn, local int, number int64, account string) error {
	if err := postgres.Exec(ctx, conn, local, number, "BEGIN", "BEGIN"); err != nil {
		return err
	}
	err := postgres.Exec(ctx, conn, local, number, "INSERT bookings",
		"INSERT INTO bookings (account, cents) VALUES ($1::int, 100)", account)
	if err != nil {
		if rollback := postgres.Exec(ctx, conn, local, number, "ROLLBACK", "ROLLBACK"); rollback != nil {
			return rollback
		}
		return err
	}
	return postgres.Exec(ctx, conn, local, number, "COMMIT", "COMMIT")
}
