//! How routers find a VIP.
