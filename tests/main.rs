mod cluster;
mod talib;
