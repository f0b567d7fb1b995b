#include <pthread.h>
#include <stdio.h>
pthread_mutex_t m=PTHREAD_MUTEX_INITIALIZER; pthread_cond_t c=PTHREAD_COND_INITIALIZER; int turn; long sum;
void*f(void*a){ long id=(long)a; for(int i=0;i<2000;i++){ pthread_mutex_lock(&m); sum+=id; pthread_mutex_unlock(&m);} for(int i=0;i<20;i++){ pthread_mutex_lock(&m); while(turn!=id) pthread_cond_wait(&c,&m); turn=(turn+1)%8; pthread_cond_broadcast(&c); pthread_mutex_unlock(&m);} return 0;}
int main(){ pthread_t t[8]; for(long i=0;i<8;i++) pthread_create(&t[i],0,f,(void*)i); for(int i=0;i<8;i++) pthread_join(t[i],0); printf("%ld %d\n",sum,turn); }
