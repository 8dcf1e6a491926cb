/*
 * activity: what members did.
 *
 * activity.h says what an activity is; what it means for its awards is the
 * affair of the rooms that listen to it.
 */
SET LOCAL check_function_bodies = off;
