/*
 * version.h - the version of the software; the wire and store formats have their own numbers.
 */
#ifndef HF_VERSION_H
#define HF_VERSION_H

#define HF_VERSION "0.1.0"

#endif
