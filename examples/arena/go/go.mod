module front

go 1.22
