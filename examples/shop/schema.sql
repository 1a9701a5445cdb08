-- The shop's tables, small enough to stay in memory.
CREATE TABLE products (id int PRIMARY KEY, name text NOT NULL, price numeric(8,2) NOT NULL, sold int NOT NULL);
INSERT INTO products
    SELECT n, (ARRAY['lamp','chair','table','mirror','carpet'])[1 + n % 5] || ' ' || n, 5 + n * 0.75, (n * 7919) % 1000
    FROM generate_series(1, 100) AS n;
CREATE TABLE reviews (product_id int NOT NULL REFERENCES products, stars int NOT NULL);
INSERT INTO reviews SELECT 1 + n % 100, 1 + (n * 31) % 5 FROM generate_series(1, 1000) AS n;
CREATE INDEX ON reviews (product_id);
CREATE TABLE promotions (product_id int NOT NULL REFERENCES products, title text NOT NULL, percent int NOT NULL);
INSERT INTO promotions SELECT n, 'offer ' || n, 5 + (n * 13) % 40 FROM generate_series(1, 40) AS n;
CREATE TABLE regions (id int PRIMARY KEY, days int NOT NULL);
INSERT INTO regions SELECT n, 1 + n % 4 FROM generate_series(0, 9) AS n;
CREATE TABLE rates (days int PRIMARY KEY, cents int NOT NULL);
INSERT INTO rates SELECT n, 990 - n * 150 FROM generate_series(1, 4) AS n;
CREATE TABLE bookings (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account int NOT NULL, cents int NOT NULL);
